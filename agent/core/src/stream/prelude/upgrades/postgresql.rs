//! PostgreSQL (frontend/backend protocol, section "Message Connection"): requests for encryption, each with
//! an answer of one byte, then the startup message.

use super::{Protocol, Reading, Stage};

const NAME: Protocol = Protocol::Postgresql;
/// SSLRequest and GSSENCRequest: length 8, code 1234,5679 and 1234,5680.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// Longest startup message that a server takes (MAX_STARTUP_PACKET_LENGTH).
const LONGEST_STARTUP: u32 = 10_000;

/// Reads a client's requests, the server's answers, and what follows.
pub fn read(client: &[u8], server: &[u8]) -> Reading {
    let mut rest = client;
    let mut answers = server.iter();
    let mut last = None;
    while let Some((request, next)) = rest.split_first_chunk() {
        if ![SSL_REQUEST, GSS_REQUEST].contains(request) {
            break;
        }
        last = answers.next();
        match last {
            Some(b'G') if *request == GSS_REQUEST => {
                return Some((Protocol::PostgresqlGssapi, Stage::Opaque));
            }
            // It was agreed to, or the server does not know what was asked.
            Some(b'S' | b'E') => return Some((NAME, after_request(next))),
            _ => rest = next,
        }
    }
    match begins_session(rest) {
        Some(true) => return Some((NAME, Stage::StaysClear)),
        Some(false) if rest.len() == client.len() => return None,
        _ => {}
    }
    let asked = rest.len() < client.len();
    let is_request = |request: [u8; 8]| request.starts_with(rest);
    let stage = match asked {
        true if rest.is_empty() || [SSL_REQUEST, GSS_REQUEST].into_iter().any(is_request) => {
            Stage::Upgrading
        }
        // What follows a refusal, and is no startup message.
        true if last == Some(&b'N') && begins_session(rest) == Some(false) => Stage::Unrecognised,
        true => Stage::Upgrading,
        false => Stage::Unrecognised,
    };
    Some((NAME, stage))
}

/// What a client says although encryption was agreed to.
fn after_request(next: &[u8]) -> Stage {
    if begins_session(next) == Some(true) { Stage::StaysClear } else { Stage::Upgrading }
}

/// Whether this is a CancelRequest (1234,5678), or a startup message: a length, protocol 3.x, the
/// first parameter with its value. `None` while it is too short to tell.
fn begins_session(bytes: &[u8]) -> Option<bool> {
    const CANCEL: u32 = 0x04d2_162e;
    /// Minor versions: 0, 2, and one that clients ask for to see that servers negotiate.
    const MINOR: [u32; 4] = [0, 1, 2, 9999];
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
    if bytes.first().is_some_and(|first| *first != 0) {
        return Some(false);
    }
    let length = word(0)?;
    if !(8..=LONGEST_STARTUP).contains(&length) {
        return Some(false);
    }
    let code = word(4)?;
    if code == CANCEL {
        return Some((12..=268).contains(&length));
    }
    if code >> 16 != 3 || !MINOR.contains(&(code & 0xffff)) {
        return Some(false);
    }
    let mut fields = bytes[8..].split(|byte| *byte == 0);
    let name = fields.next()?;
    let is_name = |c: &u8| c.is_ascii_alphanumeric() || b"_.".contains(c);
    if !name.iter().all(is_name) || name.first().is_some_and(u8::is_ascii_digit) {
        return Some(false);
    }
    let value = fields.next()?;
    let is_text = str::from_utf8(value).is_ok_and(|value| !value.contains(char::is_control));
    if name.len() < 4 || !is_text {
        return Some(false);
    }
    // The value ends where another field, or the end, begins.
    fields.next().map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0bob\0\0";

    type Messages<'a> = &'a [&'a [u8]];

    #[test]
    fn requests_and_answers_in_any_order() {
        let said = |client: &[&[u8]], server: &[u8]| read(&client.concat(), server);
        let (ssl, gss) = (&SSL_REQUEST[..], &GSS_REQUEST[..]);
        let random = &[0x9b; 40][..];
        let kafka = b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\xff\xff\0\0";
        let clear = Some((NAME, Stage::StaysClear));
        let upgrading = Some((NAME, Stage::Upgrading));
        let unrecognised = Some((NAME, Stage::Unrecognised));
        let cases: [(&str, Messages<'_>, &[u8], Reading); 18] = [
            ("in the clear", &[STARTUP], b"", clear),
            ("half of that", &[&STARTUP[..14]], b"", unrecognised),
            ("a cancellation", &[b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"], b"", clear),
            ("TLS is asked for", &[ssl], b"", upgrading),
            ("and accepted", &[ssl], b"S", upgrading),
            ("and not used", &[ssl, random], b"S", upgrading),
            ("and declined", &[ssl], b"N", upgrading),
            ("declined, in the clear", &[ssl, STARTUP], b"N", clear),
            ("declined, something", &[ssl, random], b"N", unrecognised),
            ("declined, half a startup", &[ssl, &STARTUP[..10]], b"N", upgrading),
            (
                "GSSAPI is accepted",
                &[gss, random],
                b"G",
                Some((Protocol::PostgresqlGssapi, Stage::Opaque)),
            ),
            ("GSSAPI, then TLS declined", &[gss, ssl, STARTUP], b"NN", clear),
            ("TLS, then GSSAPI declined", &[ssl, gss, STARTUP], b"NNR", clear),
            ("GSSAPI declined, TLS accepted", &[gss, ssl], b"NS", upgrading),
            ("GSSAPI declined, half a request", &[gss, &ssl[..5]], b"N", upgrading),
            (
                "TLS declined, GSSAPI accepted",
                &[ssl, gss, random],
                b"NG",
                Some((Protocol::PostgresqlGssapi, Stage::Opaque)),
            ),
            ("a request of Kafka", &[kafka], b"", None),
            ("something", &[random], b"", None),
        ];
        for (what, client, server, expected) in cases {
            assert_eq!(said(client, server), expected, "{what}");
        }
    }
}
