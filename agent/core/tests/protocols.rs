//! After how many bytes a protocol in the clear, or one that encrypts by itself, is told: the table in
//! agent/RELIABILITY.md, which `HOPSIGHT_BLESS=1` writes anew.

#![expect(clippy::disallowed_methods, reason = "the table stands in a page")]

#[path = "support/spread.rs"]
mod spread;

use std::{fmt::Write as _, fs, path::Path};

use hopsight_core::stream::prelude::{Ending, Opening, inspect};
use spread::Spread;

/// One conversation: what the server says first, then the client, then the server.
struct Row {
    protocol: &'static str,
    what: &'static str,
    greeting: Vec<u8>,
    client: Vec<u8>,
    answer: Vec<u8>,
}

fn row(protocol: &'static str, what: &'static str, client: impl AsRef<[u8]>) -> Row {
    let client = client.as_ref().to_vec();
    Row { protocol, what, greeting: Vec::new(), client, answer: Vec::new() }
}

impl Row {
    fn greeted(mut self, greeting: impl AsRef<[u8]>) -> Self {
        self.greeting = greeting.as_ref().to_vec();
        self
    }

    fn answered(mut self, answer: impl AsRef<[u8]>) -> Self {
        self.answer = answer.as_ref().to_vec();
        self
    }

    fn said(&self, client: usize, answer: bool, ending: Ending) -> String {
        let answer = if answer { &self.answer[..] } else { &[] };
        let server = [&self.greeting, answer].concat();
        match inspect(&self.client[..client], &server, ending).opening {
            Opening::Pending => "undecided".to_owned(),
            Opening::Tls(_) => "TLS".to_owned(),
            Opening::Plaintext(name) => format!("plaintext `{name}`"),
            Opening::Opaque(name) => format!("unknown, encrypted: `{name}`"),
            Opening::Unfinished(name) => format!("unknown, upgrade unfinished: `{name}`"),
            Opening::Greeted(name) => format!("unknown, nothing said: `{name}`"),
            Opening::Undecided => "unknown, unrecognised".to_owned(),
        }
    }

    fn line(&self) -> String {
        let length = self.client.len();
        let decided =
            |answer| (1..=length).find(|end| self.said(*end, answer, Ending::Open) != "undecided");
        let (after, said) = if let Some(end) = decided(false) {
            (format!("{end} of {length}"), self.said(length, false, Ending::Open))
        } else if decided(true).is_some() {
            ("the server's answer".to_owned(), self.said(length, true, Ending::Open))
        } else {
            ("its end".to_owned(), self.said(length, true, Ending::Closed))
        };
        format!("| {} | {} | {after} | {said} |\n", self.protocol, self.what)
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let spread = Spread(15).bytes(300);
    let after = |head: &[u8]| [head, &spread].concat();
    let ssl_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let gss_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
    let startup = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";
    let upgrade = |to: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {to}\r\n\r\n");
    let switched = |to: &str| format!("HTTP/1.1 101 Switch\r\nUpgrade: {to}\r\n\r\n");
    let noise = [upgrade("tailscale-control-protocol").into_bytes(), spread.clone()].concat();
    let base64: Vec<u8> = spread.iter().map(|byte| BASE64[usize::from(byte % 64)]).collect();
    let digits: Vec<u8> = spread.iter().map(|byte| BASE64[52 + usize::from(byte % 10)]).collect();
    let armour = [&b"-----BEGIN PGP MESSAGE-----\n\n"[..], &base64].concat();
    let mysql_greeting = b"\x4a\0\0\0\x0a8.0.32\0";
    let mysql = |flags: u8| [&[32, 0, 0, 1, 0x85, flags | 2, 0xff, 0][..], &[0; 28]].concat();
    let connect = b"CONNECT db:22 HTTP/1.1\r\nHost: db\r\n\r\n";
    let agreed = b"HTTP/1.1 200 OK\r\n\r\n";
    let tlcp = after(&[0x16, 1, 1, 0, 210, 1, 0, 0, 206, 1, 1]);
    let alts_data = after(&[0x2c, 1, 0, 0, 6, 0, 0, 0]);
    let alts_hello = [&[0x24, 0, 0, 0, 1, 0, 0, 0][..], &spread[..32], &alts_data].concat();
    let smb = |magic: u8, command: u8| {
        let message = |magic: u8, command: u8| {
            let head = [0, 0, 0, 64, magic, b'S', b'M', b'B'];
            [&head[..], &[0; 8], &[command], &[0; 51]].concat()
        };
        [message(0xfe, 0), message(magic, command)].concat()
    };
    let prelogin = b"\x12\x01\0\x1a\0\0\x01\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x08\0\0\0\0";
    vec![
        row("HTTP/1.1", "a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        row("HTTP/1.1", "half a request", "GET / HTTP/1.1\r\nHost: a\r\n"),
        row("HTTP/1.1", "WebSocket", upgrade("websocket")).answered(switched("websocket")),
        row("HTTP/1.1", "an upgrade to TLS is declined", upgrade("TLS/1.0")).answered("HTTP/1.1 200 OK\r\n\r\n"),
        row("HTTP/2, gRPC", "the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        row("HTTP/1.1", "after PROXY v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n"),
        row("HTTP/1.1", "after PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0caaaabbbbccddGET / HTTP/1.1\r\n\r\n"),
        row("FastCGI", "BEGIN_REQUEST", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0"),
        row("uwsgi", "variables", b"\0\x60\x01\0\x0c\0QUERY_STRING\0\0"),
        row("SCGI", "headers", "70:CONTENT_LENGTH\x0027\0"),
        row("AJP 1.3", "a request to forward", b"\x12\x34\x01\x02\x02\x02\0\x08HTTP/1.1\0"),
        row("Kafka", "Metadata, a client without a name", b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\xff\xff\0\0\0\x01"),
        row("Kafka", "ApiVersions", b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x06client\0\0"),
        row("AMQP 0-9-1", "the protocol header", b"AMQP\0\0\x09\x01"),
        row("AMQP 1.0", "the protocol header, with SASL", b"AMQP\x03\x01\0\0"),
        row("MQTT 3.1.1", "CONNECT", b"\x10\x12\0\x04MQTT\x04\x02\0\x3c\0\x06client"),
        row("Redis", "a command (RESP)", "*1\r\n$4\r\nPING\r\n"),
        row("Redis", "PING in a line", "PING\r\n"),
        row("memcached", "a command", "get key\r\n"),
        row("memcached", "get, binary", b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0key"),
        row("MySQL", "a login in answer to the greeting", mysql(0)).greeted(mysql_greeting),
        row("PostgreSQL", "the startup message", startup),
        row("PostgreSQL", "TLS is declined, the startup message follows", [&ssl_request[..], startup].concat())
            .answered("N"),
        row("PostgreSQL", "GSSAPI and TLS are declined, the startup message follows", [&gss_request[..], &ssl_request, startup].concat())
            .answered("NN"),
        row("PostgreSQL", "TLS is declined, something else follows", after(&ssl_request)).answered("N"),
        row("MongoDB", "hello (OP_MSG)", b"\x48\0\0\0\x06\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0"),
        row("Thrift", "a call, binary and framed", b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0"),
        row("Thrift", "a call, compact and framed", b"\0\0\0\x0b\x82\x21\x01\x04ping\0"),
        row("Cassandra", "OPTIONS", b"\x04\0\0\0\x05\0\0\0\0"),
        row("DNS over TCP", "a query", b"\0\x1d\x38\x22\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"),
        row("Modbus", "read registers", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a"),
        row("Modbus", "an evenly spread message in its framing", after(b"\0\x01\0\0\0\xc8\x01")),
        row("ZeroMQ", "the greeting, without encryption", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL\0\0\0\0"),
        row("BGP", "KEEPALIVE", [&[0xff; 16][..], &[0, 19, 4]].concat()),
        row("SMB", "a file is opened", smb(0xfe, 5)),
        row("Kerberos", "AS-REQ", b"\0\0\x01\x0d\x6a\x82\x01\x09\x30\x82\x01\x05\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa3\x15\x30\x13"),
        row("LDAP", "a bind with a password", b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw"),
        row("SMTP", "mail without STARTTLS", "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n").greeted("220 x ESMTP\r\n"),
        row("IMAP", "a login without STARTTLS", "a1 LOGIN u p\r\n").greeted("* OK hi\r\n"),
        row("ZooKeeper", "a new session", b"\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10\0"),
        row("STOMP", "CONNECT", "CONNECT\nhost:a\n\n\0"),
        row("SIP", "a request", "INVITE sip:a@b SIP/2.0\r\n"),
        row("NATS", "a subscription without TLS", "CONNECT {\"verbose\":false}\r\nSUB a 1\r\n")
            .greeted("INFO {\"server_id\":\"a\"}\r\n"),
        row("an unknown protocol", "128 bytes of JSON", "{\"method\":\"put\",\"key\":\"a\"}\n".repeat(5)),
        row("an unknown protocol", "22 bytes of JSON", "{\"method\": \"get_all\"}\r"),
        row("an unknown protocol", "55 bytes of words", "HELLO I am a client that speaks in lines, who are you\r\n"),
        row("an unknown protocol", "21 bytes of words", "HELLO I am a client\r\n"),
        row("an unknown protocol", "21 bytes of words, and an answer in words", "HELLO I am a client\r\n")
            .answered("HELLO I am the server, what is it that you want\r\n"),
        row("an unknown protocol", "300 characters of base64", base64),
        row("an unknown protocol", "300 digits", digits),
        row("an unknown protocol", "an OpenPGP armour", armour),
        row("an unknown protocol", "300 evenly spread bytes", &spread),
        row("an unknown protocol", "300 evenly spread bytes after a length", after(&[0, 0, 1, 44])),
        row("SSH", "its version", "SSH-2.0-client\r\n").greeted("SSH-2.0-server\r\n"),
        row("SSH", "after PROXY v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nSSH-2.0-client\r\n"),
        row("SSH", "through HTTP CONNECT", [&connect[..], b"SSH-2.0-client\r\n"].concat()).answered(agreed),
        row("TLCP", "a ClientHello", &tlcp),
        row("ALTS", "a frame of the handshake, one of data", &alts_hello),
        row("ALTS", "a frame of data", &alts_data),
        row("Noise", "in libp2p's multistream-select", b"\x13/multistream/1.0.0\n\x07/noise\n"),
        row("CurveZMQ", "the greeting", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE\0\0\0\0"),
        row("OpenVPN", "a hard reset", b"\0\x0e\x38sessionX\0\0\0\0\0"),
        row("OpenVPN", "a hard reset, tls-crypt", [&b"\0\x36\x38sessionX\0\0\0\x01"[..], &spread[..41]].concat()),
        row("SMB", "encrypted once it is negotiated", smb(0xfd, 0)),
        row("PostgreSQL", "GSSAPI encryption is accepted", after(&gss_request)).answered("G"),
        row("TDS (SQL Server)", "TLS in packets of its own", [&prelogin[..], b"\x12\x01\0\x60\0\0\x02\0\x16\x03\x01"].concat()),
        row("LDAP", "a bind by GSSAPI, then what is sealed", b"\x30\x16\x02\x01\x01\x60\x11\x02\x01\x03\x04\x00\xa3\x0a\x04\x06GSSAPI\x04\x00\0\0\0\x30\x9a"),
        row("PostgreSQL", "TLS is accepted, nothing follows", ssl_request).answered("S"),
        row("PostgreSQL", "TLS is declined, nothing follows", ssl_request).answered("N"),
        row("MySQL", "TLS is asked for, nothing follows", mysql(8)).greeted(mysql_greeting),
        row("SMTP", "STARTTLS is accepted, nothing follows", "EHLO me\r\nSTARTTLS\r\n")
            .greeted("220 x ESMTP\r\n")
            .answered("250 STARTTLS\r\n220 go\r\n"),
        row("MySQL", "greets, the client says nothing", "").greeted(mysql_greeting),
        row("SMTP", "greets, the client says nothing", "").greeted("220 x ESMTP\r\n"),
        row("NATS", "greets, the client says nothing", "").greeted("INFO {\"tls_required\":true}\r\n"),
        row("HTTP/1.1", "an upgrade to TLS is accepted, nothing follows", upgrade("TLS/1.0"))
            .answered(switched("TLS/1.0, HTTP/1.1")),
        row("HTTP/1.1", "an upgrade to Tailscale's Noise", noise)
            .answered(switched("tailscale-control-protocol")),
        row("HTTP CONNECT", "is agreed to, evenly spread bytes follow", after(connect)).answered(agreed),
        row("HTTP CONNECT", "is agreed to, nothing follows", connect).answered(agreed),
    ]
}

fn table() -> String {
    let mut text = "| protocol | what is said | told after (bytes of the client) | said |\n|---|---|---|---|\n".to_owned();
    for row in rows() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", row.line());
    }
    text
}

#[test]
fn the_table_in_the_reliability_page_is_current() {
    const BEGIN: &str = "<!-- protocols -->\n";
    const END: &str = "<!-- /protocols -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RELIABILITY.md");
    let page = fs::read_to_string(&path).expect("RELIABILITY.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (written, after) = rest.split_once(END).expect("where the table ends");
    let table = table();
    if std::env::var_os("HOPSIGHT_BLESS").is_some() {
        let page = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(&path, page).expect("write RELIABILITY.md");
    } else {
        assert!(written == table, "it differs from the code, which says:\n{table}");
    }
}
