//! Protocols that begin in the clear and may become TLS (RFC 3207 SMTP, RFC 2595 IMAP and POP3,
//! RFC 4217 FTP, RFC 4511 LDAP, RFC 6120 XMPP, PostgreSQL, MySQL, RDP, AMQP, TDS).
//!
//! One rule for all: TLS begins where a ClientHello is answered by a ServerHello, wherever that is.
//! What the protocols are known for is only the name, and how long to wait for an upgrade: a
//! client that goes on with its work in the clear will not upgrade any more.

use super::{
    Ending, Opening, TlsStart, clear, foreign,
    signatures::{self, Match, prefix},
    stage::Stage,
    statistics, text,
};

/// Judges a connection that did not begin with TLS.
pub fn judge(client: &[u8], server: &[u8], ending: Ending) -> Opening {
    let ended = ending == Ending::Closed;
    let (hello, client_at) = signatures::client_hello(client);
    let (protocol, stage) = classify(&client[..client_at], server);
    match hello {
        _ if matches!(stage, Stage::StaysClear | Stage::Opaque) => {}
        Match::Yes => {
            let server_at = signatures::server_hello(server).or(ended.then_some(server.len()));
            return server_at
                .map_or(Opening::Pending, |server_at| upgrade([client_at, server_at], protocol));
        }
        Match::Partial if !ended => return Opening::Pending,
        Match::Partial | Match::No => {}
    }
    // The client's side may be missing; a server that says hello was asked to.
    if ended && let Some(server_at) = signatures::server_hello(server) {
        return upgrade([client.len(), server_at], protocol);
    }
    match stage {
        Stage::StaysClear => Opening::Plaintext(protocol),
        Stage::Opaque => Opening::Opaque(protocol),
        // Of an unknown protocol no upgrade is known either.
        Stage::Unrecognised if ending != Ending::Open => unknown_protocol(client, server),
        Stage::MayUpgrade if ended => Opening::Plaintext(protocol),
        Stage::Upgrading if ended => Opening::Unfinished(protocol),
        Stage::MayUpgrade | Stage::Upgrading | Stage::Unrecognised => Opening::Pending,
    }
}

/// What a protocol is that nobody here knows, once no more of it will come.
pub fn unknown_protocol(client: &[u8], server: &[u8]) -> Opening {
    if statistics::reads_as_clear(client, server) {
        Opening::Plaintext("other")
    } else {
        Opening::Undecided
    }
}

/// TLS begins at these places of both sides, after this protocol in the clear.
pub const fn upgrade(at: [usize; 2], protocol: &'static str) -> Opening {
    Opening::Tls(TlsStart { at, starttls: Some(protocol), ssl2_hello: None })
}

/// The protocol's name as far as it can be told, and whether that is by more than counting.
pub fn named(client: &[u8], server: &[u8]) -> (&'static str, bool) {
    let (protocol, stage) = classify(client, server);
    (protocol, stage != Stage::Unrecognised)
}

fn classify(client: &[u8], server: &[u8]) -> (&'static str, Stage) {
    binary(client, server).unwrap_or_else(|| text::classify(client, server))
}

const POSTGRESQL_REQUESTS: [&[u8]; 2] = [
    // SSLRequest and GSSENCRequest: length 8, code 1234,5679 and 1234,5680.
    &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
    &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30],
];

fn binary(client: &[u8], server: &[u8]) -> Option<(&'static str, Stage)> {
    if client.len() < 4 {
        return mysql_greeting(server).then_some(("mysql", Stage::MayUpgrade));
    }
    postgresql(client, server)
        .or_else(|| mysql(client, server).map(|stage| ("mysql", stage)))
        .or_else(|| match clear::recognise(client) {
            clear::Seen::Protocol(name) => Some((name, Stage::StaysClear)),
            clear::Seen::Maybe | clear::Seen::None => None,
        })
        .or_else(|| match foreign::recognise(client, server) {
            foreign::Foreign::Protocol(name) => Some((name, Stage::Opaque)),
            foreign::Foreign::Maybe | foreign::Foreign::None => None,
        })
        .or_else(|| ldap(client, server).map(|stage| ("ldap", stage)))
        .or_else(|| {
            let stage = match foreign::tds(client)? {
                foreign::Tds::Clear => Stage::StaysClear,
                foreign::Tds::Encrypted => Stage::Opaque,
                foreign::Tds::Negotiating => Stage::Upgrading,
            };
            Some(("tds", stage))
        })
        .or_else(|| match client {
            // The protocol header that asks for TLS (AMQP 1.0 section 5.2.1).
            [b'A', b'M', b'Q', b'P', 2, ..] => Some(("amqp", Stage::Upgrading)),
            // RDP: TPKT version 3, X.224 connection request; without TLS it encrypts by itself
            // (MS-RDPBCGR section 5.3).
            [3, 0, high, low, _, 0xe0, ..] => {
                let request = usize::from(u16::from_be_bytes([*high, *low]));
                let stage = if client.len() > request { Stage::Opaque } else { Stage::Upgrading };
                Some(("rdp", stage))
            }
            _ if foreign::is_openvpn(client) => Some(("openvpn", Stage::Opaque)),
            _ => None,
        })
}

fn postgresql(client: &[u8], server: &[u8]) -> Option<(&'static str, Stage)> {
    const NAME: &str = "postgresql";
    for request in POSTGRESQL_REQUESTS {
        match prefix(client, request) {
            Match::Yes => {
                // 'N' declines; what follows is another request or the startup message in the clear.
                let more = &client[request.len()..];
                let again = more.is_empty()
                    || POSTGRESQL_REQUESTS.iter().any(|next| prefix(more, next) != Match::No);
                let stage = match server.first() {
                    Some(b'G') if request == POSTGRESQL_REQUESTS[1] => {
                        return Some(("postgresql-gssapi", Stage::Opaque));
                    }
                    Some(b'N') if !again => Stage::StaysClear,
                    _ => Stage::Upgrading,
                };
                return Some((NAME, stage));
            }
            Match::Partial => return Some((NAME, Stage::Unrecognised)),
            Match::No => {}
        }
    }
    // CancelRequest (1234,5678), or the startup message: a length, protocol 3.x, the first
    // parameter's name.
    match client {
        [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, ..] => Some((NAME, Stage::StaysClear)),
        [0, _, _, _, 0, 3, 0, 0..=2, rest @ ..]
            if rest.iter().take(4).all(u8::is_ascii_graphic) || rest.first() == Some(&0) =>
        {
            Some((NAME, Stage::StaysClear))
        }
        _ => None,
    }
}

/// MySQL: packet number 1 is the answer to the server's greeting; capability CLIENT_SSL 0x800.
fn mysql(client: &[u8], server: &[u8]) -> Option<Stage> {
    const SSL_REQUEST: usize = 4 + 32;
    if client.get(1..4) != Some(&[0, 0, 1]) || !(server.is_empty() || mysql_greeting(server)) {
        return None;
    }
    // The server speaks first: an answer alone is anything.
    if server.is_empty() {
        return Some(Stage::Unrecognised);
    }
    Some(match client.get(4..6) {
        Some(flags) if flags[1] & 0x08 == 0 => Stage::StaysClear,
        Some(_) if client.len() >= SSL_REQUEST => Stage::Upgrading,
        Some(_) | None => Stage::Unrecognised,
    })
}

/// Protocol version 10 and packet number 0 in a short packet. A part of that is anything.
fn mysql_greeting(server: &[u8]) -> bool {
    server.get(1..5) == Some(&[0, 0, 0, 10])
}

/// The OID of the LDAP StartTLS operation, RFC 4511 section 4.14.1.
const LDAP_STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Mechanisms that may encrypt everything after the bind (RFC 4513 section 5.2.1).
const LDAP_SEALS: [&[u8]; 3] = [b"GSSAPI", b"GSS-SPNEGO", b"DIGEST-MD5"];

fn ldap(client: &[u8], server: &[u8]) -> Option<Stage> {
    const EXTENDED_REQUEST: u8 = 0x77;
    const BIND_REQUEST: u8 = BIND;
    const SASL: u8 = 0xa3;
    let (operation, length) = ldap_message(client)?;
    let has = |part: &[u8]| client.windows(part.len()).any(|window| window == part);
    match operation {
        EXTENDED_REQUEST if has(LDAP_STARTTLS) => {
            // A result that is not success declines (RFC 4511 section 4.1.9).
            let declined = server.windows(3).any(|part| part[..2] == [0x0a, 1] && part[2] != 0);
            Some(if declined { Stage::MayUpgrade } else { Stage::Upgrading })
        }
        EXTENDED_REQUEST => Some(Stage::MayUpgrade),
        BIND_REQUEST => Some(match bind_choice(client) {
            Some(SASL) if client.len() >= length => sasl_bind(client, length),
            Some(SASL) | None => Stage::MayUpgrade,
            Some(_) => Stage::StaysClear,
        }),
        _ => Some(Stage::StaysClear),
    }
}

/// A bind by a mechanism of its own, of which the message has this length.
fn sasl_bind(client: &[u8], length: usize) -> Stage {
    let (bind, next) = client.split_at(length);
    let has = |part: &&[u8]| bind.windows(part.len()).any(|window| window == *part);
    if !LDAP_SEALS.iter().any(has) {
        return Stage::StaysClear;
    }
    match (next, ldap_message(next)) {
        ([], _) | (_, Some((BIND, _))) => Stage::Upgrading,
        (_, Some(_)) => Stage::StaysClear,
        _ => Stage::Opaque,
    }
}

/// The tag of a bind's authentication (RFC 4511 section 4.2: version, name, and the choice), once it
/// is there.
fn bind_choice(client: &[u8]) -> Option<u8> {
    let at = client.windows(4).position(|part| matches!(part, [2, 1, 2 | 3, 4]))?;
    client.get(at + 5 + usize::from(*client.get(at + 4)?)).copied()
}

/// The operation's tag of an LDAPMessage (RFC 4511 section 4.1.1: SEQUENCE, length, INTEGER message
/// id, operation), and the message's length.
fn ldap_message(bytes: &[u8]) -> Option<(u8, usize)> {
    let [0x30, length, ..] = *bytes else { return None };
    let (at, length) = if length & 0x80 == 0 {
        (2, usize::from(length))
    } else {
        let count = usize::from(length & 0x7f);
        let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
        (2 + count, digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
    };
    let [2, id @ 1..=4, ..] = *bytes.get(at..)? else { return None };
    let operation = *bytes.get(at + 2 + usize::from(id))?;
    // Requests of a client: application tags 0 to 23 (section 4.2 to 4.13), constructed or not.
    let is_request = matches!(
        operation,
        BIND..=0x77 if matches!(operation & 0x1f, 0 | 2 | 3 | 6 | 8 | 10 | 12 | 14 | 16 | 23)
    );
    (is_request || matches!(operation, 0x42 | 0x4a | 0x50)).then_some((operation, at + length))
}

/// The first application tag that is constructed.
const BIND: u8 = 0x60;
