//! What HTTP/1 turns a connection into: CONNECT (RFC 9110 section 9.3.6) and Upgrade (section 7.8).

use super::{
    Protocol,
    signatures::{Match, prefix},
    stage::Tunnel,
};

/// Longest head of a request or an answer that is read.
const MAX_HEAD: usize = 32 * 1024;
/// Requests on one connection: a proxy may ask for credentials first (RFC 9110 section 15.5.8).
const MAX_REQUESTS: usize = 8;
/// Interim answers: "100 Continue" and its like.
const MAX_INTERIM: usize = 8;

/// What a request other than CONNECT asks for, and the server's answer to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Its head is not whole, and may still ask for another protocol; or it asks for one in the
    /// clear, and the server may choose another.
    Unfinished,
    /// It stays HTTP, or becomes a protocol in the clear.
    Stays,
    /// It asks for another protocol, and is not answered (yet).
    Asked,
    /// The server agreed; what is said then begins at these places of client and server.
    Switched([usize; 2]),
}

/// Reads the first request of a client, and its answer.
pub fn request(client: &[u8], server: &[u8]) -> Request {
    let Some(end) = head_end(client) else {
        return if client.len() < MAX_HEAD { Request::Unfinished } else { Request::Stays };
    };
    let asked = protocols(&client[..end]);
    if asked.is_empty() {
        return Request::Stays;
    }
    // The server may choose another than was asked for.
    let open = if asked.iter().all(is_clear) { Request::Unfinished } else { Request::Asked };
    let body = field(&client[..end], "content-length").and_then(|value| value.parse().ok());
    let client_at = end.saturating_add(body.unwrap_or(0));
    let Some(answer) = final_answer(server) else { return open };
    if answer.status != *b"101" {
        return Request::Stays;
    }
    let named = protocols(&server[answer.begin..answer.end]);
    let agreed = if named.is_empty() { &asked } else { &named };
    if agreed.iter().all(is_clear) {
        return Request::Stays;
    }
    Request::Switched([client_at, answer.end])
}

/// Whether a connection of which a request is seen stays HTTP, whatever the answer: the request has
/// a whole head that asks for neither a tunnel nor another protocol.
pub fn request_stays(request: &[u8]) -> bool {
    let head = head_end(request).map(|end| &request[..end]);
    head.is_some_and(|head| !head.starts_with(b"CONNECT ") && protocols(head).iter().all(is_clear))
}

/// Whether a connection of which an answer is seen stays HTTP, whatever was asked: what agrees to a
/// tunnel is successful and has no body (RFC 9110 section 9.3.6), and what asks for credentials or
/// for an upgrade may come before that.
pub fn answer_stays(answer: &[u8]) -> bool {
    let Some(head) = head_end(answer).map(|end| &answer[..end]) else { return false };
    let has_body = || {
        field(head, "transfer-encoding").is_some()
            || field(head, "content-length").is_some_and(|length| length != "0")
    };
    match status(head) {
        None | Some([b'1', _, _] | [b'4', b'0', b'7'] | [b'4', b'2', b'6']) => false,
        Some([b'2', _, _]) => has_body(),
        Some(_) => true,
    }
}

/// The protocols to switch to that a head names.
fn protocols(head: &[u8]) -> Vec<&str> {
    let names = fields(head, "upgrade").flat_map(|value| value.split(','));
    names.map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Whether a protocol stays in the clear: WebSocket (RFC 6455), whose masks are no secret, SPDY, and
/// HTTP itself.
fn is_clear(protocol: &&str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["websocket", "h2c", "http", "spdy"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The value of the first field of this name, which is in lower case.
fn field<'a>(head: &'a [u8], name: &'a str) -> Option<&'a str> {
    fields(head, name).next()
}

/// The values of all fields of this name, which is in lower case.
fn fields<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(move |line| {
        let (field, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads a client's CONNECT, with the server's answers.
pub fn connect(client: &[u8], server: &[u8]) -> Tunnel {
    const NAME: Protocol = Protocol::HttpConnect;
    let line = client.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if client.contains(&b'\n') && !line.windows(8).any(|part| part.starts_with(b" HTTP/1.")) {
        // NATS says CONNECT as well.
        return Tunnel::None;
    }
    let mut at = [0, 0];
    for _ in 0..MAX_REQUESTS {
        let request = &client[at[0]..];
        let Some(asked) = head_end(request) else { return Tunnel::Asked(NAME) };
        let rest = &server[at[1]..];
        let Some(answer) = final_answer(rest) else { return Tunnel::Asked(NAME) };
        if answer.status.starts_with(b"2") || answer.status == *b"101" {
            return Tunnel::Open(NAME, [at[0] + asked, at[1] + answer.end]);
        }
        let Some(next) = request.get(asked..).filter(|next| !next.is_empty()) else {
            return Tunnel::Refused(NAME);
        };
        if prefix(next, b"CONNECT ") == Match::No {
            return Tunnel::Refused(NAME);
        }
        at = [at[0] + asked, at[1] + with_body(rest, &answer)];
    }
    Tunnel::Asked(NAME)
}

/// A head of an answer: where it begins and ends, and its status code.
struct Answer {
    begin: usize,
    end: usize,
    status: [u8; 3],
}

/// The first answer that is no interim one (RFC 9110 section 15.2), if its head is whole. "101
/// Switching Protocols" is final here: what follows it is no HTTP/1.
fn final_answer(server: &[u8]) -> Option<Answer> {
    let mut begin = 0;
    for _ in 0..=MAX_INTERIM {
        let answer = &server[begin..];
        let (status, end) = (status(answer)?, begin + head_end(answer)?);
        if status[0] != b'1' || status == *b"101" {
            return Some(Answer { begin, end, status });
        }
        begin = end;
    }
    None
}

/// Where an answer ends with its body: by the body's length, or where a line is the next one's
/// status.
fn with_body(server: &[u8], answer: &Answer) -> usize {
    let head = &server[answer.begin..answer.end];
    let length = field(head, "content-length").and_then(|value| value.parse().ok());
    if let Some(length) = length {
        return answer.end.saturating_add(length).min(server.len());
    }
    let begins = |at: &usize| server[at - 1] == b'\n' && status(&server[*at..]).is_some();
    (answer.end..server.len()).find(begins).unwrap_or(server.len())
}

/// The end of a head of HTTP/1, with its empty line. A line may end with LF alone (RFC 9112 section
/// 2.2).
fn head_end(bytes: &[u8]) -> Option<usize> {
    let head = &bytes[..bytes.len().min(MAX_HEAD)];
    let ends = |at: &usize| head[*at] == b'\n';
    (0..head.len()).filter(ends).find_map(|at| match head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The status code of an answer.
fn status(answer: &[u8]) -> Option<[u8; 3]> {
    let code: [u8; 3] = answer.strip_prefix(b"HTTP/1.")?.get(2..)?.first_chunk().copied()?;
    code.iter().all(u8::is_ascii_digit).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_asks_for() {
        let ask = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let tls = ask("Upgrade: TLS/1.0\r\n");
        let answer = |head: &str| format!("HTTP/1.1 {head}\r\n\r\n");
        let agreed = answer("101 Switching Protocols\r\nUpgrade: TLS/1.0, HTTP/1.1");
        let continued = [answer("100 Continue"), agreed.clone()].concat();
        let cases = [
            (
                "half a head",
                ask("").replace("\r\n\r\n", "\r\n"),
                String::new(),
                Request::Unfinished,
            ),
            ("no wish", ask("Accept: */*\r\n"), String::new(), Request::Stays),
            ("WebSocket", ask("Upgrade: WebSocket\r\n"), String::new(), Request::Unfinished),
            (
                "WebSocket, yes",
                ask("Upgrade: WebSocket\r\n"),
                answer("101 S\r\nUpgrade: websocket"),
                Request::Stays,
            ),
            (
                "WebSocket, another",
                ask("Upgrade: WebSocket\r\n"),
                answer("101 S\r\nUpgrade: noise"),
                Request::Switched([47, 34]),
            ),
            (
                "two fields",
                ask("Upgrade: h2c\r\nUpgrade: noise\r\n"),
                answer("101 S\r\nUpgrade: noise"),
                Request::Switched([57, 34]),
            ),
            (
                "yes, without a name",
                ask("Upgrade: noise\r\n"),
                answer("101 S"),
                Request::Switched([43, 18]),
            ),
            (
                "lines that end with LF alone",
                ask("Upgrade: noise\r\n").replace('\r', ""),
                answer("101 S\r\nUpgrade: noise").replace('\r', ""),
                Request::Switched([39, 31]),
            ),
            ("HTTP/2", ask("Upgrade: h2c\r\n"), answer("200 OK"), Request::Stays),
            ("asked", tls.clone(), String::new(), Request::Asked),
            ("half an answer", tls.clone(), "HTTP/1.1 101 S".to_owned(), Request::Asked),
            ("no", tls.clone(), answer("200 OK"), Request::Stays),
            ("yes", tls.clone(), agreed.clone(), Request::Switched([45, 64])),
            ("to be continued, yes", tls.clone(), continued, Request::Switched([45, 89])),
            ("yes, to another", tls, answer("101 S\r\nUpgrade: websocket"), Request::Stays),
            (
                "yes, after a body",
                ask("upgrade: noise\r\ncontent-length: 5\r\n"),
                answer("101 S\r\nupgrade: noise"),
                Request::Switched([67, 34]),
            ),
        ];
        for (what, client, server, expected) in cases {
            assert_eq!(request(client.as_bytes(), server.as_bytes()), expected, "{what}");
        }
        let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(MAX_HEAD));
        assert_eq!(request(endless.as_bytes(), b""), Request::Stays);
    }

    #[test]
    fn what_stays_http_is_known_without_the_other_side() {
        for (name, head, stays) in [
            ("a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("half of one", "GET / HTTP/1.1\r\nHost: a\r\n", false),
            ("a wish for TLS", "OPTIONS * HTTP/1.1\r\nUpgrade: TLS/1.2\r\n\r\n", false),
            ("a wish for WebSocket", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", true),
            ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ] {
            assert_eq!(request_stays(head.as_bytes()), stays, "{name}");
        }
        for (name, head, stays) in [
            ("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true),
            ("one in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("half of one", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", false),
            ("none found", "HTTP/1.1 404 Not Found\r\n\r\n", true),
            ("a tunnel", "HTTP/1.1 200 Connection established\r\n\r\n", false),
            ("credentials first", "HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n", false),
            ("a tunnel with a length", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("an upgrade first", "HTTP/1.1 426 Upgrade Required\r\n\r\n", false),
            ("another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
            ("none", "SMTP", false),
        ] {
            assert_eq!(answer_stays(head.as_bytes()), stays, "{name}");
        }
    }
}
