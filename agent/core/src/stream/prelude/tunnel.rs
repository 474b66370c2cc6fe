//! Proxies that the client goes through: HTTP CONNECT, SOCKS 4 and 5 (RFC 1928). Once they agree, what
//! is said through the tunnel is what the connection is.

use super::{Protocol, http, stage::Tunnel};
use crate::tls::fields::Fields;

/// Reads the negotiation at the front of both streams.
pub fn read(client: &[u8], server: &[u8]) -> Tunnel {
    if client.starts_with(b"CONNECT ") {
        return http::connect(client, server);
    }
    match client {
        [4, 1, _, _, _, _, _, _, _, ..] => socks4(client, server),
        [5, methods @ 1..=16, rest @ ..] if offers(rest, usize::from(*methods)) => {
            socks5(rest, usize::from(*methods), server)
        }
        _ => Tunnel::None,
    }
}

/// Whether these are methods that exist (RFC 1928 section 3), each named once, and what follows them
/// is a request or, where a password was offered, that.
fn offers(bytes: &[u8], count: usize) -> bool {
    let methods = &bytes[..bytes.len().min(count)];
    let exist = methods.iter().all(|method| matches!(method, 0..=9 | 0x80..=0xfe));
    let once = methods.iter().enumerate().all(|(at, method)| !methods[..at].contains(method));
    exist && once && matches!(bytes.get(count..), None | Some([] | [5] | [5, 1..=3, ..] | [1, ..]))
}

fn socks4(client: &[u8], server: &[u8]) -> Tunnel {
    const NAME: Protocol = Protocol::Socks;
    // A port, and a user's name that ends with zero; an address of 0.0.0.x is followed by a host's name.
    let user = client[8..].iter().take_while(|byte| **byte != 0);
    if client[2..4] == [0, 0] || !user.into_iter().all(u8::is_ascii_graphic) {
        return Tunnel::None;
    }
    let mut ends = client.iter().enumerate().skip(8).filter(|(_, byte)| **byte == 0);
    let named = client[4..7] == [0, 0, 0];
    let Some((end, _)) = ends.nth(usize::from(named)) else { return Tunnel::Asked(NAME) };
    match server {
        [0, 90, ..] if server.len() >= 8 => Tunnel::Open(NAME, [end + 1, 8]),
        [0, 91..=93, ..] => Tunnel::Refused(NAME),
        [] => Tunnel::Asked(NAME),
        [0, ..] if server.len() < 8 => Tunnel::Asked(NAME),
        _ => Tunnel::None,
    }
}

fn socks5(after_version: &[u8], methods: usize, server: &[u8]) -> Tunnel {
    const NAME: Protocol = Protocol::Socks;
    let [5, method, reply @ ..] = server else {
        return if matches!(server, [] | [5]) { Tunnel::Asked(NAME) } else { Tunnel::None };
    };
    let Some(mut rest) = after_version.get(methods..) else { return Tunnel::Asked(NAME) };
    let mut reply = reply;
    match method {
        0 => {}
        2 => {
            // User name and password (RFC 1929), and the answer to it.
            let Some(length) = credentials(rest) else { return Tunnel::Asked(NAME) };
            let [1, 0, after @ ..] = reply else { return Tunnel::Asked(NAME) };
            (rest, reply) = (&rest[length..], after);
        }
        0xff => return Tunnel::Refused(NAME),
        _ => return Tunnel::Asked(NAME),
    }
    let (Some(request), Some(answer)) = (address_end(rest), address_end(reply)) else {
        let refused = matches!(reply, [5, code, ..] if *code != 0);
        return if refused { Tunnel::Refused(NAME) } else { Tunnel::Asked(NAME) };
    };
    if reply[1] != 0 {
        return Tunnel::Refused(NAME);
    }
    let asked = 2 + after_version.len() - rest.len() + request;
    Tunnel::Open(NAME, [asked, server.len() - reply.len() + answer])
}

/// Length of a request with user name and password, once it is whole.
fn credentials(bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields::of(bytes);
    let _version = fields.bytes(1)?;
    let _user = fields.prefixed::<1>()?;
    let _password = fields.prefixed::<1>()?;
    Some(bytes.len() - fields.rest().len())
}

/// Length of a request or reply with its address (RFC 1928 sections 4 to 6), once it is whole.
fn address_end(bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields::of(bytes);
    let [_version, _command, _reserved, kind] = fields.array()?;
    let _address = match kind {
        1 => fields.bytes(4)?,
        4 => fields.bytes(16)?,
        3 => fields.prefixed::<1>()?,
        _ => return None,
    };
    let _port = fields.u16()?;
    Some(bytes.len() - fields.rest().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_tunnel_is() {
        const ASK: &[u8] = b"CONNECT a:1 HTTP/1.1\r\n\r\n";
        const AGREE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        let again = [ASK, ASK, b"x"].concat();
        let refused = b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno";
        let then_agreed = [&refused[..], AGREE].concat();
        let continued = [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], AGREE].concat();
        let named = b"HTTP/1.1 407 No\r\nContent-Length: 18\r\n\r\nno HTTP/1.1 200 OK";
        let named_then_agreed = [&named[..], AGREE].concat();
        let chunked = b"HTTP/1.1 407 No\r\n\r\n8\r\nHTTP/1.1\r\n0\r\n\r\n";
        let chunked_then_agreed = [&chunked[..], AGREE].concat();
        let socks = |more: &[u8]| [&b"\x05\x01\0\x05\x01\0\x03\x01a\0\x50"[..], more].concat();
        let cases: [(&str, &[u8], &[u8], Tunnel); 15] = [
            ("none", b"GET / HTTP/1.1\r\n", b"", Tunnel::None),
            ("NATS", b"CONNECT {\"verbose\":false}\r\n", b"", Tunnel::None),
            ("half a request", &ASK[..12], b"", Tunnel::Asked(Protocol::HttpConnect)),
            ("asked", ASK, b"", Tunnel::Asked(Protocol::HttpConnect)),
            ("half an answer", ASK, &AGREE[..16], Tunnel::Asked(Protocol::HttpConnect)),
            ("refused", ASK, refused, Tunnel::Refused(Protocol::HttpConnect)),
            ("agreed", ASK, AGREE, Tunnel::Open(Protocol::HttpConnect, [24, 19])),
            (
                "refused, then agreed",
                &again,
                &then_agreed,
                Tunnel::Open(Protocol::HttpConnect, [48, 59]),
            ),
            (
                "to be continued, agreed",
                ASK,
                &continued,
                Tunnel::Open(Protocol::HttpConnect, [24, 44]),
            ),
            (
                "refused in words of HTTP, then agreed",
                &again,
                &named_then_agreed,
                Tunnel::Open(Protocol::HttpConnect, [48, 76]),
            ),
            (
                "refused in chunks, then agreed",
                &again,
                &chunked_then_agreed,
                Tunnel::Open(Protocol::HttpConnect, [48, 56]),
            ),
            ("SOCKS 5 asked", &socks(b""), b"\x05\0", Tunnel::Asked(Protocol::Socks)),
            (
                "SOCKS 5 agreed",
                &socks(b"x"),
                b"\x05\0\x05\0\0\x01\0\0\0\0\0\0y",
                Tunnel::Open(Protocol::Socks, [11, 12]),
            ),
            ("SOCKS 5 refused", &socks(b""), b"\x05\0\x05\x02\0", Tunnel::Refused(Protocol::Socks)),
            (
                "SOCKS 4a agreed",
                b"\x04\x01\0\x50\0\0\0\x01me\0host\0x",
                b"\0\x5a\0\0\0\0\0\0",
                Tunnel::Open(Protocol::Socks, [16, 8]),
            ),
        ];
        for (name, client, server, expected) in cases {
            assert_eq!(read(client, server), expected, "{name}");
        }
    }
}
