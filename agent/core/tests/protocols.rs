//! After how many bytes a protocol in the clear, or one that encrypts by itself, is told: the table in
//! agent/RELIABILITY.md, which `HOPSIGHT_BLESS=1` writes anew.

#![expect(clippy::disallowed_methods, reason = "the table stands in a page")]

use std::{fmt::Write as _, fs, path::Path};

use hopsight_core::stream::prelude::{Ending, Opening, inspect, reads_as_clear};

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

/// A generator of evenly spread bytes (xorshift64*), so that failures repeat.
struct Spread(u64);

impl Spread {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let word = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()
        };
        let mut bytes: Vec<u8> =
            std::iter::repeat_with(word).take(length.div_ceil(8)).flatten().collect();
        bytes.truncate(length);
        bytes
    }
}

fn rows() -> Vec<Row> {
    let spread = Spread(15).bytes(300);
    let after = |head: &[u8]| [head, &spread].concat();
    let ssl_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let gss_request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
    let startup = b"\0\0\0\x1e\0\x03\0\0user\0postgres\0\0\0";
    let mysql_greeting = b"\x4a\0\0\0\x0a8.0.32\0";
    let mysql = |flags: u8| [&[32, 0, 0, 1, 0x85, flags, 0xff, 0][..], &[0; 28]].concat();
    let connect = b"CONNECT db:22 HTTP/1.1\r\nHost: db\r\n\r\n";
    let agreed = b"HTTP/1.1 200 OK\r\n\r\n";
    let tlcp = after(&[0x16, 1, 1, 0, 210, 1, 0, 0, 206, 1, 1]);
    let alts_data = after(&[0x2c, 1, 0, 0, 6, 0, 0, 0]);
    let alts_hello = [&[0x24, 0, 0, 0, 1, 0, 0, 0][..], &spread[..32], &alts_data].concat();
    let prelogin = b"\x12\x01\0\x1a\0\0\x01\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x08\0\0\0\0";
    vec![
        row("HTTP/1.1", "a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        row("HTTP/2, gRPC", "the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        row("HTTP/1.1", "after PROXY v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n"),
        row("HTTP/1.1", "after PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0caaaabbbbccddGET / HTTP/1.1\r\n"),
        row("FastCGI", "BEGIN_REQUEST", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0"),
        row("uwsgi", "variables", b"\0\x60\x01\0\x0c\0QUERY_STRING\0\0"),
        row("SCGI", "headers", "70:CONTENT_LENGTH\x0027\0"),
        row("AJP 1.3", "a request to forward", b"\x12\x34\x01\x02\x02\x02\0\x08HTTP/1.1\0"),
        row("Kafka", "ApiVersions", b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x06client\0\0"),
        row("AMQP 0-9-1", "the protocol header", b"AMQP\0\0\x09\x01"),
        row("AMQP 1.0", "the protocol header, with SASL", b"AMQP\x03\x01\0\0"),
        row("MQTT 3.1.1", "CONNECT", b"\x10\x12\0\x04MQTT\x04\x02\0\x3c\0\x06client"),
        row("Redis", "a command (RESP)", "*1\r\n$4\r\nPING\r\n"),
        row("Redis", "PING in a line", "PING\r\n"),
        row("memcached", "a command", "get key\r\n"),
        row("memcached", "get, binary", b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0key"),
        row("MySQL", "a login in answer to the greeting", mysql(2)).greeted(mysql_greeting),
        row("PostgreSQL", "the startup message", startup),
        row("PostgreSQL", "TLS is declined, the startup message follows", [&ssl_request[..], startup].concat())
            .answered("N"),
        row("MongoDB", "hello (OP_MSG)", b"\x48\0\0\0\x06\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0"),
        row("Thrift", "a call, binary and framed", b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0"),
        row("Thrift", "a call, compact and framed", b"\0\0\0\x0b\x82\x21\x01\x04ping\0"),
        row("Cassandra", "OPTIONS", b"\x04\0\0\0\x05\0\0\0\0"),
        row("DNS over TCP", "a query", b"\0\x1d\x38\x22\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"),
        row("Modbus", "read registers", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a"),
        row("Kerberos", "AS-REQ", b"\0\0\x01\x0d\x6a\x82\x01\x09\x30\x82\x01\x05\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa3\x15\x30\x13"),
        row("LDAP", "a bind with a password", b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw"),
        row("SMTP", "mail without STARTTLS", "EHLO me\r\nMAIL FROM:<a@b>\r\n").greeted("220 x ESMTP\r\n"),
        row("IMAP", "a login without STARTTLS", "a1 LOGIN u p\r\n").greeted("* OK hi\r\n"),
        row("an unknown protocol", "128 bytes of text", "{\"method\":\"put\",\"key\":\"a\"}\n".repeat(5)),
        row("an unknown protocol", "22 bytes of text", "{\"method\": \"get_all\"}\r"),
        row("an unknown protocol", "12 bytes of text", "{\"get\":\"all\"}"),
        row("an unknown protocol", "19 bytes, 16 of them 0xff (BGP)", [&[0xff; 16][..], &[0, 19, 4]].concat()),
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
        row("OpenVPN", "a hard reset", after(&[0, 14, 0x38])),
        row("PostgreSQL", "GSSAPI encryption is accepted", after(&gss_request)).answered("G"),
        row("TDS (SQL Server)", "TLS in packets of its own", [&prelogin[..], b"\x12\x01\0\x60\0\0\x02\0\x16\x03\x01"].concat()),
        row("LDAP", "a bind by GSSAPI, then what is sealed", b"\x30\x16\x02\x01\x01\x60\x11\x02\x01\x03\x04\x00\xa3\x0a\x04\x06GSSAPI\x04\x00\0\0\0\x30\x9a"),
        row("PostgreSQL", "TLS is accepted, nothing follows", ssl_request).answered("S"),
        row("PostgreSQL", "TLS is declined, nothing follows", ssl_request).answered("N"),
        row("MySQL", "TLS is asked for, nothing follows", mysql(8)).greeted(mysql_greeting),
        row("SMTP", "STARTTLS is accepted, nothing follows", "EHLO me\r\nSTARTTLS\r\n")
            .greeted("220 x ESMTP\r\n")
            .answered("250 STARTTLS\r\n220 go\r\n"),
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

/// The error that matters most: encrypted bytes called clear text.
#[test]
fn evenly_spread_bytes_are_not_clear() {
    const TRIALS: usize = 1 << 16;
    let mut spread = Spread(7);
    for length in [16, 24, 64, 128, 600] {
        let mut clear = [0, 0];
        for _ in 0..TRIALS {
            let (client, server) = (spread.bytes(length), spread.bytes(length));
            clear[0] += usize::from(reads_as_clear(&client, &server));
            let said = inspect(&client, &server, Ending::Closed).opening;
            clear[1] += usize::from(matches!(said, Opening::Plaintext(_)));
        }
        println!("{length} bytes: {clear:?} of {TRIALS} by counting, by everything");
        assert_eq!(clear, [0, 0], "{length} bytes");
    }
}
