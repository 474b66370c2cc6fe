use super::*;
use crate::model::Direction;

/// A ClientHello record that [`signatures::client_hello`] accepts: 42 bytes of body, zeroed.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 1, 0, 46, 1, 0, 0, 42, 3, 3];
    bytes.resize(51, 0);
    bytes
}

fn server_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 3, 0, 46, 2, 0, 0, 42, 3, 3];
    bytes.resize(51, 0);
    bytes
}

/// A name, what the client says, what the server says, and the answer without and with the end.
type Case = (&'static str, Vec<u8>, Vec<u8>, &'static str, &'static str);

fn said(opening: &Opening) -> String {
    match opening {
        Opening::Pending => "pending".to_owned(),
        Opening::Plaintext(protocol) => format!("clear {protocol}"),
        Opening::Opaque(protocol) => format!("opaque {protocol}"),
        Opening::Unfinished(protocol) => format!("unfinished {protocol}"),
        Opening::Undecided => "undecided".to_owned(),
        Opening::Tls(start) => {
            format!("tls {:?} {}", start.at, start.starttls.unwrap_or("direct"))
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let tls = |before: &[u8]| [before, &client_hello()].concat();
    let answer = |before: &[u8]| [before, &server_hello()].concat();
    let text = |text: &str| text.as_bytes().to_vec();
    let postgresql = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let mysql = |flags: u8| {
        let mut packet = vec![32, 0, 0, 1, 0x85, flags];
        packet.resize(36, 0);
        packet
    };
    let greeting = b"\x4a\0\0\0\x0a5.7.0\0".to_vec();
    let ldap_starttls = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0caaaabbbbccdd".to_vec();
    vec![
        ("nothing", vec![], vec![], "pending", "pending"),
        ("tls", client_hello(), vec![], "tls [0, 0] direct", "tls [0, 0] direct"),
        ("half a record header", vec![0x16, 3], vec![], "pending", "pending"),
        ("the server's SSH before the client's", vec![], text("SSH-2.0-a"), "pending", "opaque ssh"),
        ("http", text("GET / HTTP/1.1\r\n"), vec![], "clear http/1", "clear http/1"),
        ("half a method", text("GE"), vec![], "pending", "undecided"),
        ("h2c", text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), vec![], "clear h2c", "clear h2c"),
        ("half a preface", text("PRI * HT"), vec![], "pending", "clear h2c"),
        ("redis", text("*1\r\n$4\r\nPING\r\n"), vec![], "clear redis", "clear redis"),
        ("binary", vec![1, 2, 3, 4], vec![], "pending", "undecided"),
        ("more binary", vec![1; 128], vec![], "clear other", "clear other"),
        (
            "unknown upgrade",
            tls(b"CNXN....STLS...."),
            answer(b"STLS...."),
            "tls [16, 8] other",
            "tls [16, 8] other",
        ),
        ("server first", vec![], text("220 hi\r\n"), "pending", "clear ftp"),
        ("tls server only", vec![], server_hello(), "pending", "tls [0, 0] direct"),
        (
            "proxy v1 and tls",
            tls(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
            vec![],
            "tls [32, 0] direct",
            "tls [32, 0] direct",
        ),
        ("proxy v2 and http", [&v2[..], b"GET /"].concat(), vec![], "clear http/1", "clear http/1"),
        ("proxy v2 and tls", tls(&v2), vec![], "tls [28, 0] direct", "tls [28, 0] direct"),
        ("half of proxy v1", text("PROXY TCP4"), vec![], "pending", "pending"),
        (
            "postgresql accepted",
            tls(&postgresql),
            answer(b"S"),
            "tls [8, 1] postgresql",
            "tls [8, 1] postgresql",
        ),
        ("postgresql asked", postgresql.to_vec(), vec![], "pending", "unfinished postgresql"),
        (
            "postgresql accepted, then nothing",
            postgresql.to_vec(),
            text("S"),
            "pending",
            "unfinished postgresql",
        ),
        (
            "postgresql declined, then nothing",
            postgresql.to_vec(),
            text("N"),
            "pending",
            "unfinished postgresql",
        ),
        (
            "postgresql under GSSAPI",
            [&postgresql[..7], &[0x30], &[0; 40]].concat(),
            text("G"),
            "opaque postgresql-gssapi",
            "opaque postgresql-gssapi",
        ),
        (
            "postgresql: GSSAPI declined, TLS accepted",
            tls(&[&postgresql[..7], &[0x30], &postgresql[..]].concat()),
            answer(b"NS"),
            "tls [16, 2] postgresql",
            "tls [16, 2] postgresql",
        ),
        (
            "postgresql declined",
            [&postgresql[..], &[0, 0, 0, 41, 0, 3, 0, 0]].concat(),
            text("N"),
            "clear postgresql",
            "clear postgresql",
        ),
        (
            "postgresql in the clear",
            vec![0, 0, 0, 41, 0, 3, 0, 0],
            vec![],
            "clear postgresql",
            "clear postgresql",
        ),
        ("mysql asks", mysql(8), greeting.clone(), "pending", "unfinished mysql"),
        (
            "mysql upgrades",
            tls(&mysql(8)),
            answer(&greeting),
            "tls [36, 11] mysql",
            "tls [36, 11] mysql",
        ),
        ("mysql in the clear", mysql(0), greeting, "clear mysql", "clear mysql"),
        (
            "smtp upgrades",
            tls(b"EHLO me\r\nSTARTTLS\r\n"),
            answer(b"220 x ESMTP\r\n250 STARTTLS\r\n220 go\r\n"),
            "tls [19, 35] smtp",
            "tls [19, 35] smtp",
        ),
        (
            "smtp goes on in the clear",
            text("EHLO me\r\nMAIL FROM:<a@b>\r\n"),
            text("220 x ESMTP\r\n"),
            "clear smtp",
            "clear smtp",
        ),
        ("imap asks", text("a1 STARTTLS\r\n"), text("* OK hi\r\n"), "pending", "unfinished imap"),
        (
            "imap is refused",
            text("a1 STARTTLS\r\n"),
            text("* OK hi\r\na1 NO\r\n"),
            "pending",
            "clear imap",
        ),
        ("imap logs in", text("a1 LOGIN u p\r\n"), text("* OK hi\r\n"), "clear imap", "clear imap"),
        ("pop3 asks", text("STLS\r\n"), text("+OK hi\r\n"), "pending", "unfinished pop3"),
        ("pop3 logs in", text("USER u\r\n"), text("+OK hi\r\n"), "clear pop3", "clear pop3"),
        ("ftp asks", text("AUTH TLS\r\n"), text("220 hi\r\n"), "pending", "unfinished ftp"),
        ("ftp logs in", text("USER u\r\n"), text("220 hi\r\n"), "clear ftp", "clear ftp"),
        (
            "half a greeting",
            text("QUIT x\r\nUSER u\r\n"),
            text("220-hi\r\n"),
            "pending",
            "clear ftp",
        ),
        (
            "a greeting of two lines",
            text("MAIL FROM:<a@b>\r\n"),
            text("220-hi\r\n220 x ESMTP\r\n"),
            "clear smtp",
            "clear smtp",
        ),
        (
            "an ftp server that knows of smtp",
            text("USER u\r\n"),
            text("220 hi\r\n500 no SMTP\r\n"),
            "clear ftp",
            "clear ftp",
        ),
        ("ldap asks", ldap_starttls.clone(), vec![], "pending", "unfinished ldap"),
        (
            "ldap is refused",
            ldap_starttls.clone(),
            b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00".to_vec(),
            "pending",
            "clear ldap",
        ),
        (
            "ldap binds in a way that may encrypt",
            b"\x30\x16\x02\x01\x01\x60\x11\x02\x01\x03\x04\x00\xa3\x0a\x04\x06GSSAPI\x04\x00\0\0\0\x30".to_vec(),
            vec![],
            "opaque ldap",
            "opaque ldap",
        ),
        (
            "ldap upgrades",
            tls(&ldap_starttls),
            answer(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            "tls [31, 14] ldap",
            "tls [31, 14] ldap",
        ),
        (
            "ldap binds",
            b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00".to_vec(),
            vec![],
            "clear ldap",
            "clear ldap",
        ),
        (
            "xmpp upgrades",
            tls(b"<?xml version='1.0'?><stream:stream><starttls/>"),
            answer(b"<?xml?><proceed/>"),
            "tls [47, 17] xmpp",
            "tls [47, 17] xmpp",
        ),
        (
            "xmpp in the clear",
            text("<?xml?><stream><iq type='get'/>"),
            vec![],
            "clear xmpp",
            "clear xmpp",
        ),
        (
            "http connect",
            tls(b"CONNECT a:443 HTTP/1.1\r\n\r\n"),
            answer(b"HTTP/1.1 200 OK\r\n\r\n"),
            "tls [26, 19] http_connect",
            "tls [26, 19] http_connect",
        ),
        (
            "http connect declined",
            text("CONNECT a:443 HTTP/1.1\r\n\r\n"),
            text("HTTP/1.1 403 No\r\n\r\n"),
            "pending",
            "clear http_connect",
        ),
        (
            "http connect declined, then with credentials",
            tls(b"CONNECT a:1 HTTP/1.1\r\n\r\nCONNECT a:1 HTTP/1.1\r\nProxy-Authorization: x\r\n\r\n"),
            answer(b"HTTP/1.1 407 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            "tls [72, 38] http_connect",
            "tls [72, 38] http_connect",
        ),
        (
            "openvpn",
            b"\0\x0e\x3812345678\0\0\0\0\0".to_vec(),
            vec![],
            "opaque openvpn",
            "opaque openvpn",
        ),
        (
            "openvpn's opcode in the number of a query",
            b"\0\x1d\x38\x22\x01\0\0\x01\0\0\0\0\0\0\x07example".to_vec(),
            vec![],
            "clear dns",
            "clear dns",
        ),
        ("ssh", text("SSH-2.0-x\r\n"), text("SSH-2.0-y\r\n"), "opaque ssh", "opaque ssh"),
        (
            "ssh after a PROXY prefix",
            text("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nSSH-2.0-x\r\n"),
            vec![],
            "opaque ssh",
            "opaque ssh",
        ),
        (
            "a server that says more than ssh before the client does",
            vec![],
            text("Welcome\r\nSSH-2.0-y\r\n"),
            "pending",
            "opaque ssh",
        ),
        (
            "mongodb's sixth request is no ALTS",
            b"\x48\0\0\0\x06\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0".to_vec(),
            vec![],
            "clear mongodb",
            "clear mongodb",
        ),
        (
            "http connect agreed, then nothing",
            text("CONNECT a:443 HTTP/1.1\r\n\r\n"),
            text("HTTP/1.1 200 OK\r\n\r\n"),
            "pending",
            "unfinished http_connect",
        ),
        (
            "ssh through http connect",
            text("CONNECT a:22 HTTP/1.1\r\n\r\nSSH-2.0-x\r\n"),
            text("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-y\r\n"),
            "opaque ssh",
            "opaque ssh",
        ),
        (
            "http through socks5",
            [&[5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0, 80][..], b"GET / HTTP/1.1\r\n"].concat(),
            vec![5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80],
            "clear http/1",
            "clear http/1",
        ),
        (
            "amqp asks",
            b"AMQP\x02\x01\0\0".to_vec(),
            b"AMQP\x02\x01\0\0".to_vec(),
            "pending",
            "unfinished amqp",
        ),
        (
            "evenly spread bytes",
            (0..200_u32).map(|n| (n * n * 193 + n * 77 + 9).to_be_bytes()[3]).collect(),
            vec![],
            "pending",
            "undecided",
        ),
        (
            "socks4, server side only",
            vec![4, 1, 1, 187, 1, 2, 3, 4, 0],
            answer(&[0, 90, 0, 0, 0, 0, 0, 0]),
            "pending",
            "tls [9, 8] socks",
        ),
        (
            "socks5",
            tls(&[5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 1, 187]),
            answer(&[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 1, 187]),
            "tls [13, 12] socks",
            "tls [13, 12] socks",
        ),
    ]
}

#[test]
fn beginnings() {
    for (name, client, server, open, ended) in cases() {
        assert_eq!(said(&inspect(&client, &server, Ending::Open).opening), open, "{name}");
        assert_eq!(
            said(&inspect(&client, &server, Ending::Closed).opening),
            ended,
            "{name}, ended"
        );
    }
}

#[test]
fn more_bytes_never_turn_one_answer_into_another() {
    for (name, client, server, ..) in cases() {
        let mut answers = Vec::new();
        for client_end in 0..=client.len() {
            for server_end in 0..=server.len() {
                let seen =
                    inspect(&client[..client_end], &server[..server_end], Ending::Open).opening;
                if seen != Opening::Pending {
                    // The name of a clear-text protocol may become more precise.
                    let answer = match &seen {
                        Opening::Plaintext(_) => "clear".to_owned(),
                        other => said(other),
                    };
                    answers.push((client_end, server_end, answer));
                }
            }
        }
        answers.dedup_by(|a, b| a.2 == b.2);
        assert!(answers.len() <= 1, "{name}: {answers:?}");
    }
}

#[test]
fn a_proxy_protocol_prefix_is_noted() {
    let prefixed = [b"PROXY UNKNOWN\r\n".to_vec(), client_hello()].concat();
    let seen = inspect(&prefixed, &[], Ending::Open);
    assert_eq!(seen.proxy_protocol, Some(ProxyVersion::V1));
    let Opening::Tls(start) = seen.opening else { panic!("not TLS: {:?}", seen.opening) };
    assert_eq!(start.at[Direction::ToServer.index()], 15);
}
