//! Protocols that begin in the clear and may become TLS (RFC 3207 SMTP, RFC 2595 IMAP and POP3,
//! RFC 4217 FTP, RFC 4511 LDAP, RFC 6120 XMPP, PostgreSQL, MySQL, RDP, AMQP, TDS).
//!
//! One rule for all: TLS begins where a ClientHello is answered by a ServerHello, wherever that is.
//! What the protocols are known for is only the name, and how long to wait for an upgrade: a
//! client that goes on with its work in the clear will not upgrade any more.

mod adb;
mod ldap;
mod mysql;
mod postgresql;
mod rdp;
mod smb;
mod tds;
mod tns;

use super::{
    Ending, Opening, Protocol, TlsStart, clear, foreign,
    signatures::{self, Match},
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
        Stage::Unrecognised | Stage::Greeted if ending != Ending::Open => {
            unknown_protocol(client, server)
        }
        Stage::MayUpgrade if ended => Opening::Plaintext(protocol),
        Stage::Upgrading if ended => Opening::Unfinished(protocol),
        Stage::MayUpgrade | Stage::Upgrading | Stage::Unrecognised | Stage::Greeted => {
            Opening::Pending
        }
    }
}

/// What a protocol is that nobody here knows, once no more of it will come.
pub fn unknown_protocol(client: &[u8], server: &[u8]) -> Opening {
    if statistics::reads_as_clear(client, server) {
        Opening::Plaintext(Protocol::Other)
    } else {
        Opening::Undecided
    }
}

/// TLS begins at these places of both sides, after this protocol in the clear.
pub const fn upgrade(at: [usize; 2], protocol: Protocol) -> Opening {
    Opening::Tls(TlsStart { at, starttls: Some(protocol), ssl2_hello: None })
}

/// The protocol's name as far as it can be told, and whether that is by more than counting.
pub fn named(client: &[u8], server: &[u8]) -> (Protocol, bool) {
    let (protocol, stage) = classify(client, server);
    (protocol, stage != Stage::Unrecognised)
}

fn classify(client: &[u8], server: &[u8]) -> (Protocol, Stage) {
    binary(client, server).unwrap_or_else(|| text::classify(client, server))
}

/// A protocol's name, and how far it has come; `None` where the bytes are not its own.
type Reading = Option<(Protocol, Stage)>;

/// Reads what a client said, and the server.
type Reader = fn(&[u8], &[u8]) -> Reading;

/// In this order: what has more marks of its own comes first.
const READERS: [Reader; 12] = [
    postgresql::read,
    mysql::read,
    in_clear,
    encrypted,
    ldap::read,
    tds::read,
    smb::read,
    adb::read,
    tns::read,
    rdp::read,
    s7,
    amqp,
];
/// Bytes of a client without which no binary protocol is told.
const LEAST: usize = 4;

fn binary(client: &[u8], server: &[u8]) -> Reading {
    if client.len() < LEAST {
        return mysql::greets(server).then_some((Protocol::Mysql, Stage::Greeted));
    }
    READERS.iter().find_map(|read| read(client, server))
}

fn in_clear(client: &[u8], _: &[u8]) -> Reading {
    match clear::recognise(client) {
        clear::Seen::Protocol(name) => Some((name, Stage::StaysClear)),
        clear::Seen::Maybe | clear::Seen::None => None,
    }
}

fn encrypted(client: &[u8], server: &[u8]) -> Reading {
    match foreign::recognise(client, server) {
        foreign::Foreign::Protocol(name) => Some((name, Stage::Opaque)),
        foreign::Foreign::Maybe | foreign::Foreign::None => None,
    }
}

/// The protocol header that asks for TLS (AMQP 1.0 section 5.2.1).
fn amqp(client: &[u8], _: &[u8]) -> Reading {
    client.starts_with(b"AMQP\x02").then_some((Protocol::Amqp, Stage::Upgrading))
}

/// S7 without a connection request, as where that was not captured.
fn s7(client: &[u8], _: &[u8]) -> Reading {
    rdp::is_s7(client).then_some((Protocol::S7, Stage::StaysClear))
}
