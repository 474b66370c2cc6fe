//! What comes before TLS, or instead of it: PROXY protocol, clear-text protocols and their
//! upgrades to TLS. Decided by bytes, never by port.
//!
//! Clear text is said of bytes that are recognised as such: by a protocol's own marks, or by counts
//! that encrypted bytes reach once in 2^24 connections. What is neither that nor TLS, nor known to
//! encrypt in a way of its own, is undecided.
//!
//! [`inspect`] is a function of the bytes seen so far. More bytes may turn [`Opening::Pending`]
//! into an answer, but never one answer into another.

mod clear;
mod foreign;
mod http;
mod lines;
mod protocol;
mod signatures;
mod stage;
mod statistics;
mod text;
mod tunnel;
mod upgrades;
mod words;

use crate::{
    model::Direction,
    tls::{hello::ClientHello, records::RecordHeader},
};

pub use protocol::Protocol;
pub use signatures::{ProxyProtocol, ProxyVersion};
use stage::Tunnel;
pub use statistics::{SAMPLE, reads_as_clear};

/// Where TLS begins on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStart {
    /// Position of the first TLS byte, by [`Direction::index`].
    pub at: [usize; 2],
    /// The protocol that was upgraded, or `None` where TLS came first.
    pub starttls: Option<Protocol>,
    /// The ClientHello, where it came in SSLv2 framing; `at` is then after it.
    pub ssl2_hello: Option<Box<ClientHello>>,
}

/// What a connection's first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// More bytes are needed.
    Pending,
    /// TLS.
    Tls(TlsStart),
    /// Clear text of this protocol.
    Plaintext(Protocol),
    /// Neither: a protocol that encrypts in a way which is not read here.
    Opaque(Protocol),
    /// Over: TLS, or a tunnel, was asked for in this protocol, and nothing followed.
    Unfinished(Protocol),
    /// Over: the server greeted in this protocol, and the client said nothing.
    Greeted(Protocol),
    /// Over: nothing that is known as clear text or as encryption.
    Undecided,
}

/// Whether more bytes may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// They may.
    Open,
    /// None will, but the connection may have gone on where nobody looked.
    SourceEnded,
    /// The connection is over: what has not become TLS by now will not.
    Closed,
}

/// A whole view of the beginning of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The answer.
    pub opening: Opening,
    /// The PROXY protocol prefix, where there was one.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// Judges the first bytes of both directions.
#[must_use]
pub fn inspect(to_server: &[u8], to_client: &[u8], ending: Ending) -> Inspection {
    let (skip, proxy_protocol) = match signatures::proxy_protocol(to_server) {
        ProxyProtocol::Pending if !to_server.is_empty() => {
            return Inspection { opening: unfinished(ending), proxy_protocol: None };
        }
        ProxyProtocol::Pending | ProxyProtocol::Absent => (0, None),
        ProxyProtocol::Present { length, version } => (length, Some(version)),
    };
    let mut opening = opening(&to_server[skip..], to_client, ending);
    if let Opening::Tls(start) = &mut opening {
        start.at[Direction::ToServer.index()] += skip;
    }
    Inspection { opening, proxy_protocol }
}

/// Judges one segment of a connection whose beginning was not seen: only unmistakable clear text is
/// said, and TLS records are recognised as such.
#[must_use]
pub fn inspect_mid_stream(segment: &[u8]) -> Opening {
    if let Ok(Some(_)) = RecordHeader::parse(segment) {
        return Opening::Tls(TlsStart { at: [0, 0], starttls: None, ssl2_hello: None });
    }
    let stays = match signatures::http(segment) {
        signatures::Match::Yes => http::request_stays(segment),
        _ => http::answer_stays(segment),
    };
    if stays { Opening::Plaintext(Protocol::Http1) } else { Opening::Pending }
}

fn opening(client: &[u8], server: &[u8], ending: Ending) -> Opening {
    let ended = ending == Ending::Closed;
    let direct = |ssl2_hello, client_at| {
        Opening::Tls(TlsStart { at: [client_at, 0], starttls: None, ssl2_hello })
    };
    if client.is_empty() {
        return server_alone(server, ending);
    }
    match RecordHeader::parse(client) {
        // The server spoke first, in the clear, and the client answers with TLS. (One that comes before
        // such bytes is answered in the clear, and decided by then.)
        Ok(Some(_)) if RecordHeader::parse(server).is_err() && ending == Ending::Open => {
            return signatures::server_hello(server).map_or(Opening::Pending, |server_at| {
                upgrades::upgrade([0, server_at], upgrades::named(&[], server).0)
            });
        }
        Ok(Some(_)) => return direct(None, 0),
        // Half a TLS record is not clear text.
        Ok(None) => return unfinished(ending),
        Err(_) => {}
    }
    match ClientHello::parse_ssl2(client) {
        Ok(Some((hello, length))) => return direct(Some(Box::new(hello)), length),
        Ok(None) => return unfinished(ending),
        Err(_) => {}
    }
    match signatures::http2_preface(client) {
        signatures::Match::Yes => return Opening::Plaintext(Protocol::H2c),
        signatures::Match::Partial if !ended => return Opening::Pending,
        signatures::Match::Partial if client.len() > LEAST_OF_A_PREFACE => {
            return Opening::Plaintext(Protocol::H2c);
        }
        _ => {}
    }
    match signatures::http(client) {
        signatures::Match::Yes if !client.starts_with(b"CONNECT ") => {
            return request(client, server, ending);
        }
        signatures::Match::Partial if !ended => return Opening::Pending,
        _ => {}
    }
    match tunnel::read(client, server) {
        Tunnel::Open(name, at) => through(name, at, client, server, ending),
        Tunnel::Refused(name) if ended => Opening::Plaintext(name),
        Tunnel::Asked(name) if ended && signatures::server_hello(server).is_none() => {
            Opening::Unfinished(name)
        }
        // The proxy's answer may be missing, and what it agreed to be seen.
        Tunnel::Asked(_) | Tunnel::Refused(_) if !ended => Opening::Pending,
        Tunnel::Asked(name) | Tunnel::Refused(name) => {
            match upgrades::judge(client, server, ending) {
                Opening::Tls(start) => Opening::Tls(TlsStart { starttls: Some(name), ..start }),
                other => other,
            }
        }
        Tunnel::None => upgrades::judge(client, server, ending),
    }
}

/// The beginning of what may have become something.
fn unfinished(ending: Ending) -> Opening {
    if ending == Ending::Closed { Opening::Undecided } else { Opening::Pending }
}

/// What a connection is that begins with a request of HTTP/1.
fn request(client: &[u8], server: &[u8], ending: Ending) -> Opening {
    const PROTOCOL: Protocol = Protocol::Http1;
    const UPGRADE: Protocol = Protocol::HttpUpgrade;
    match http::request(client, server) {
        http::Request::Stays => Opening::Plaintext(PROTOCOL),
        http::Request::Unfinished if ending != Ending::Open => Opening::Plaintext(PROTOCOL),
        http::Request::Asked if ending == Ending::Closed => Opening::Unfinished(UPGRADE),
        http::Request::Unfinished | http::Request::Asked => Opening::Pending,
        http::Request::Switched(at) => through(UPGRADE, at, client, server, ending),
    }
}

/// Bytes of the HTTP/2 preface that are no other protocol's beginning.
const LEAST_OF_A_PREFACE: usize = 4;

/// What a server says to a client that is silent.
///
/// The client has the first word on what it speaks: a server (or somebody who forges its packets)
/// that says something before must not decide for it.
fn server_alone(server: &[u8], ending: Ending) -> Opening {
    match RecordHeader::parse(server) {
        _ if ending == Ending::Open || server.is_empty() => Opening::Pending,
        Ok(Some(_)) => Opening::Tls(TlsStart { at: [0, 0], starttls: None, ssl2_hello: None }),
        Ok(None) => unfinished(ending),
        Err(_) => match upgrades::named(&[], server) {
            (Protocol::Ssh, _) => Opening::Opaque(Protocol::Ssh),
            _ if ending != Ending::Closed => Opening::Pending,
            (name, true) => Opening::Greeted(name),
            (_, false) => upgrades::unknown_protocol(&[], server),
        },
    }
}

/// What is said through a tunnel that begins at these places.
fn through(
    name: Protocol,
    at: [usize; 2],
    client: &[u8],
    server: &[u8],
    ending: Ending,
) -> Opening {
    let inside = [client.get(at[0]..), server.get(at[1]..)].map(Option::unwrap_or_default);
    if inside.iter().all(|bytes| bytes.is_empty()) {
        return if ending == Ending::Closed { Opening::Unfinished(name) } else { Opening::Pending };
    }
    match opening(inside[0], inside[1], ending) {
        Opening::Tls(start) => {
            let at = [at[0] + start.at[0], at[1] + start.at[1]];
            Opening::Tls(TlsStart { at, starttls: Some(name), ssl2_hello: start.ssl2_hello })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
