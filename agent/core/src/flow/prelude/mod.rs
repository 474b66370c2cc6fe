//! What comes before TLS, or instead of it: PROXY protocol, clear-text protocols and their
//! upgrades to TLS. Decided by bytes, never by port.
//!
//! [`inspect`] is a function of the bytes seen so far. More bytes may turn [`Opening::Pending`]
//! into an answer, but never one answer into another.

mod signatures;
mod upgrades;

use crate::{
    model::Direction,
    tls::{hello::ClientHello, records::RecordHeader},
};

pub use signatures::{ProxyProtocol, ProxyVersion};

/// Where TLS begins on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStart {
    /// Position of the first TLS byte, by [`Direction::index`].
    pub at: [usize; 2],
    /// The protocol that was upgraded, or `None` where TLS came first.
    pub starttls: Option<&'static str>,
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
    /// Clear text of this protocol (`other` where it is not known).
    Plaintext(&'static str),
    /// Neither: a protocol that encrypts in a way which is not read here.
    Opaque(&'static str),
}

/// Whether more bytes may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// They may.
    Open,
    /// None will, but the connection may have gone on where nobody looked.
    SourceEnded,
    /// The connection is over: what has not become TLS was clear text.
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
            return Inspection { opening: Opening::Pending, proxy_protocol: None };
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

/// For a connection whose beginning was not seen: only an unmistakable clear-text beginning is
/// said, and TLS records are recognised as such.
#[must_use]
pub fn inspect_mid_stream(bytes: &[u8]) -> Opening {
    if let Ok(Some(_)) = RecordHeader::parse(bytes) {
        return Opening::Tls(TlsStart { at: [0, 0], starttls: None, ssl2_hello: None });
    }
    match signatures::http(bytes) {
        signatures::Match::Yes if !bytes.starts_with(b"CONNECT") => Opening::Plaintext("http/1"),
        _ if bytes.starts_with(b"HTTP/1.") => Opening::Plaintext("http/1"),
        _ => Opening::Pending,
    }
}

fn opening(client: &[u8], server: &[u8], ending: Ending) -> Opening {
    let ended = ending == Ending::Closed;
    let direct = |ssl2_hello, client_at| {
        Opening::Tls(TlsStart { at: [client_at, 0], starttls: None, ssl2_hello })
    };
    if client.is_empty() {
        // The client has the first word on what it speaks: a server (or somebody who forges its
        // packets) that says something before must not decide for it.
        return match RecordHeader::parse(server) {
            _ if ending == Ending::Open => Opening::Pending,
            Ok(Some(_)) => direct(None, 0),
            _ if server.starts_with(b"SSH-") => Opening::Plaintext("ssh"),
            _ if ended && !server.is_empty() => Opening::Plaintext(upgrades::named(client, server)),
            _ => Opening::Pending,
        };
    }
    match RecordHeader::parse(client) {
        // The server spoke first, in clear, and the client answers with TLS. (One that comes before
        // such bytes is answered in clear, and decided by then.)
        Ok(Some(_)) if RecordHeader::parse(server).is_err() && ending == Ending::Open => {
            return signatures::server_hello(server).map_or(Opening::Pending, |server_at| {
                upgrades::upgrade([0, server_at], upgrades::named(&[], server))
            });
        }
        Ok(Some(_)) => return direct(None, 0),
        // Even at the end: half a TLS record is not clear text.
        Ok(None) => return Opening::Pending,
        Err(_) => {}
    }
    match ClientHello::parse_ssl2(client) {
        Ok(Some((hello, length))) => return direct(Some(Box::new(hello)), length),
        Ok(None) => return Opening::Pending,
        Err(_) => {}
    }
    match signatures::http2_preface(client) {
        signatures::Match::Yes => return Opening::Plaintext("h2c"),
        signatures::Match::Partial if !ended => return Opening::Pending,
        _ => {}
    }
    match signatures::http(client) {
        signatures::Match::Yes if !client.starts_with(b"CONNECT ") => {
            return Opening::Plaintext("http/1");
        }
        signatures::Match::Partial if !ended => return Opening::Pending,
        _ => {}
    }
    upgrades::judge(client, server, ending)
}

#[cfg(test)]
mod tests;
