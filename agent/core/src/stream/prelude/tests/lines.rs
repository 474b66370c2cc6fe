//! Openings in lines after a server's greeting, which alone says nothing of the client.

use super::*;

const GREETINGS: [&str; 6] = [
    "+OK\r\n",
    "220 ok\r\n",
    "* OK\r\n",
    "INFO {\"a\":1}\r\n",
    "220 mx ESMTP\r\n",
    "* PREAUTH hi\r\n",
];

/// What no client of any of these says, whatever the server greets with.
fn not_a_command() -> Vec<(&'static str, Vec<u8>)> {
    let base64 = b"R1N5NDLQwDn8dRIxZO9mElcSuRQvs2vYOdk7M5OxfbLW/GKPfOCx5j49CXBY\r\n";
    vec![
        ("base64", base64.to_vec()),
        ("a line by chance", [b"T.\n", &evenly_spread(40)[..]].concat()),
        ("two lines by chance", [b"P;\n\n", &evenly_spread(40)[..]].concat()),
        ("a segment of four bytes", b"[?f_".to_vec()),
        ("four bytes and more", [b"[?f_", &evenly_spread(40)[..]].concat()),
        ("a command, then noise", [b"NOOP\r\n=.B\n", &evenly_spread(40)[..]].concat()),
        ("an armour", [b"-----BEGIN PGP MESSAGE-----\n\n", &base64[..]].concat()),
        ("a part of a command", b"RETRIEVE\r\n".to_vec()),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn cases() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    // What comes before the upgrade, by client and server.
    let upgrades = |name, client: &str, server: &str, protocol: &str| {
        let at = format!("tls [{}, {}] {protocol}", client.len(), server.len());
        let at: &'static str = at.leak();
        (name, tls(client.as_bytes()), answer(server.as_bytes()), at, at)
    };
    let clear =
        |name, client: &str, server: &str, said| (name, text(client), text(server), said, said);
    vec![
        upgrades(
            "RSET",
            "EHLO a\r\nRSET\r\nSTARTTLS\r\n",
            "220 mx ESMTP\r\n530 no\r\n220 go\r\n",
            "smtp",
        ),
        upgrades(
            "VRFY",
            "EHLO a\r\nVRFY b\r\nSTARTTLS\r\n",
            "220 mx ESMTP\r\n530 no\r\n220 go\r\n",
            "smtp",
        ),
        upgrades(
            "MAIL",
            "EHLO a\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\n",
            "220 mx ESMTP\r\n530 no\r\n220 go\r\n",
            "smtp",
        ),
        upgrades(
            "AUTH",
            "EHLO a\r\nAUTH LOGIN\r\nSTARTTLS\r\n",
            "220 mx ESMTP\r\n530 no\r\n220 go\r\n",
            "smtp",
        ),
        upgrades(
            "XCLIENT",
            "EHLO a\r\nXCLIENT ADDR=1\r\nEHLO b\r\nSTARTTLS\r\n",
            "220 mx ESMTP\r\n220 go\r\n",
            "smtp",
        ),
        upgrades("HOST", "HOST a\r\nAUTH TLS\r\n", "220 ftp\r\n220 ok\r\n234 go\r\n", "ftp"),
        upgrades("USER", "USER a\r\nAUTH TLS\r\n", "220 ftp\r\n331 ok\r\n234 go\r\n", "ftp"),
        upgrades(
            "ENABLE",
            "a ENABLE UTF8=ACCEPT\r\nb STARTTLS\r\n",
            "* OK hi\r\na OK\r\nb OK\r\n",
            "imap",
        ),
        upgrades("a long tag", "averyverylongtag0001 STARTTLS\r\n", "* OK hi\r\nx OK\r\n", "imap"),
        upgrades(
            "a tag with a hyphen",
            "a-1 CAPABILITY\r\na-2 STARTTLS\r\n",
            "* OK hi\r\nok\r\na-2 OK\r\n",
            "imap",
        ),
        upgrades("POP3's USER", "USER a\r\nSTLS\r\n", "+OK\r\n-ERR no\r\n+OK\r\n", "pop3"),
        upgrades("UTF8", "UTF8\r\nSTLS\r\n", "+OK\r\n+OK\r\n+OK\r\n", "pop3"),
        clear("a password in IMAP", "a LOGIN b c\r\nb STARTTLS\r\n", "* OK hi\r\n", "clear imap"),
        clear(
            "a password by AUTH",
            "EHLO a\r\nAUTH PLAIN AGEAYg==\r\n",
            "220 mx ESMTP\r\n",
            "clear smtp",
        ),
        clear(
            "a password after AUTH",
            "AUTH LOGIN\r\nYm9iYm9i\r\n",
            "220 mx ESMTP\r\n334 x\r\n",
            "clear smtp",
        ),
        clear(
            "GSSAPI without a layer",
            "a AUTHENTICATE GSSAPI\r\nYIIC\r\nb SELECT INBOX\r\n",
            "* OK hi\r\n",
            "clear imap",
        ),
        clear("NATS", "CONNECT {}\r\nPUB a 1\r\n", "INFO {\"a\":1}\r\n", "clear nats"),
        (
            "GSSAPI with a layer",
            text("AUTH GSSAPI\r\nYIIC\r\n\0\0\0\x20"),
            text("+OK\r\n+ \r\n+OK\r\n"),
            "opaque pop3",
            "opaque pop3",
        ),
        clear(
            "FTP inside GSSAPI",
            "AUTH GSSAPI\r\nADAT YIIC\r\nENC YIIC\r\n",
            "220 ftp\r\n",
            "opaque ftp",
        ),
        (
            "redis, with a value of any bytes",
            [b"*2\r\n$3\r\nGET\r\n$20\r\n", &evenly_spread(20)[..]].concat(),
            text("+OK\r\n"),
            "clear redis",
            "clear redis",
        ),
        (
            "STARTTLS is refused, something follows",
            [b"EHLO a\r\nSTARTTLS\r\n4\n", &evenly_spread(40)[..]].concat(),
            text("220 mx ESMTP\r\n250 STARTTLS\r\n454 no\r\n"),
            "pending",
            "undecided",
        ),
        (
            "only a mail's sender",
            text("EHLO a\r\nMAIL FROM:<a@b>\r\n"),
            text("220 x ESMTP\r\n"),
            "pending",
            "clear smtp",
        ),
    ]
}

#[test]
fn a_greeting_makes_no_client_clear() {
    for greeting in GREETINGS {
        for (what, client) in not_a_command() {
            for ending in [Ending::Open, Ending::SourceEnded, Ending::Closed] {
                let said = said(&inspect(&client, greeting.as_bytes(), ending).opening);
                assert!(!said.starts_with("clear"), "{greeting:?}, {what}, {ending:?}: {said}");
            }
        }
    }
}
