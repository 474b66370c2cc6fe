//! The protocols that are recognised.

use crate::vocabulary;

vocabulary! {
    /// A protocol that is spoken before TLS, or instead of it.
    Protocol {
        /// AJP 1.3, of Tomcat and its proxies.
        Ajp => "ajp",
        /// Android's debug bridge.
        Adb => "adb",
        /// Google's ALTS, which encrypts.
        Alts => "alts",
        /// AMQP 0-9-1 and 1.0.
        Amqp => "amqp",
        /// BGP.
        Bgp => "bgp",
        /// Cassandra's native protocol.
        Cassandra => "cassandra",
        /// ZMTP with its mechanism CURVE, which encrypts.
        Curvezmq => "curvezmq",
        /// DNS over TCP.
        Dns => "dns",
        /// EtherNet/IP.
        Enip => "enip",
        /// FastCGI.
        Fastcgi => "fastcgi",
        /// FTP.
        Ftp => "ftp",
        /// HTTP/2 by prior knowledge.
        H2c => "h2c",
        /// HTTP/1.
        Http1 => "http/1",
        /// A tunnel that HTTP's CONNECT asked for.
        HttpConnect => "http_connect",
        /// Another protocol that HTTP's Upgrade asked for.
        HttpUpgrade => "http_upgrade",
        /// IMAP.
        Imap => "imap",
        /// IRC.
        Irc => "irc",
        /// Kafka.
        Kafka => "kafka",
        /// Kerberos.
        Kerberos => "kerberos",
        /// LDAP.
        Ldap => "ldap",
        /// LMTP.
        Lmtp => "lmtp",
        /// memcached, in text or binary.
        Memcached => "memcached",
        /// Modbus.
        Modbus => "modbus",
        /// MongoDB.
        Mongodb => "mongodb",
        /// MQTT.
        Mqtt => "mqtt",
        /// MySQL and MariaDB.
        Mysql => "mysql",
        /// NATS.
        Nats => "nats",
        /// libp2p with Noise, which encrypts.
        Noise => "noise",
        /// OpenVPN over TCP, which encrypts.
        Openvpn => "openvpn",
        /// POP3.
        Pop3 => "pop3",
        /// PostgreSQL.
        Postgresql => "postgresql",
        /// PostgreSQL inside GSSAPI, which encrypts.
        PostgresqlGssapi => "postgresql-gssapi",
        /// RDP.
        Rdp => "rdp",
        /// Redis.
        Redis => "redis",
        /// RTSP.
        Rtsp => "rtsp",
        /// Siemens S7.
        S7 => "s7",
        /// SCGI.
        Scgi => "scgi",
        /// SIP.
        Sip => "sip",
        /// SMB.
        Smb => "smb",
        /// SMB 3 with its own encryption.
        Smb3 => "smb3",
        /// SMTP.
        Smtp => "smtp",
        /// A tunnel that SOCKS 4 or 5 asked for.
        Socks => "socks",
        /// SSH, which encrypts.
        Ssh => "ssh",
        /// STOMP.
        Stomp => "stomp",
        /// SQL Server's TDS.
        Tds => "tds",
        /// Thrift.
        Thrift => "thrift",
        /// TLCP (GB/T 38636), which encrypts.
        Tlcp => "tlcp",
        /// Oracle's TNS.
        Tns => "tns",
        /// uwsgi.
        Uwsgi => "uwsgi",
        /// XMPP.
        Xmpp => "xmpp",
        /// ZMTP in the clear.
        Zmtp => "zmtp",
        /// ZooKeeper.
        Zookeeper => "zookeeper",
        /// None that is known.
        Other => "other",
    }
}
