//! Fixed beginnings: PROXY protocol, HTTP/1, HTTP/2, and TLS hellos inside a stream.

/// How bytes compare with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They are it.
    Yes,
    /// They may become it.
    Partial,
    /// They are not.
    No,
}

/// Compares the beginning of `bytes` with `pattern`.
pub fn prefix(bytes: &[u8], pattern: &[u8]) -> Match {
    if bytes.starts_with(pattern) {
        Match::Yes
    } else if pattern.starts_with(bytes) {
        Match::Partial
    } else {
        Match::No
    }
}

/// Version of a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// `v1` or `v2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Whether a connection begins with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// More bytes are needed.
    Pending,
    /// It does not.
    Absent,
    /// It does.
    Present {
        /// Bytes of the header.
        length: usize,
        /// Its version.
        version: ProxyVersion,
    },
}

/// Longest v1 line, from the PROXY protocol specification, section 2.1.
const PROXY_V1_MAX: usize = 107;
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a PROXY protocol header (haproxy's proxy-protocol.txt, versions 1 and 2).
pub fn proxy_protocol(bytes: &[u8]) -> ProxyProtocol {
    match (prefix(bytes, b"PROXY "), prefix(bytes, PROXY_V2)) {
        (Match::Yes, _) => {
            let line = &bytes[..bytes.len().min(PROXY_V1_MAX)];
            match line.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => ProxyProtocol::Present { length: end + 2, version: ProxyVersion::V1 },
                None if bytes.len() < PROXY_V1_MAX => ProxyProtocol::Pending,
                None => ProxyProtocol::Absent,
            }
        }
        (_, Match::Yes) => {
            let Some(header) = bytes.get(12..16) else { return ProxyProtocol::Pending };
            let length = 16 + usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header[0] >> 4 != 2 {
                ProxyProtocol::Absent
            } else if bytes.len() < length {
                ProxyProtocol::Pending
            } else {
                ProxyProtocol::Present { length, version: ProxyVersion::V2 }
            }
        }
        (Match::Partial, _) | (_, Match::Partial) => ProxyProtocol::Pending,
        _ => ProxyProtocol::Absent,
    }
}

/// The connection preface of HTTP/2 (RFC 9113 section 3.4).
pub fn http2_preface(bytes: &[u8]) -> Match {
    prefix(bytes, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
}

/// A request line of HTTP/1 (RFC 9112 section 3): an upper-case method, a space and a target.
pub fn http(bytes: &[u8]) -> Match {
    const METHODS: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"TRACE ",
        b"CONNECT ",
        b"PROPFIND ",
        b"PROPPATCH ",
        b"MKCOL ",
        b"COPY ",
        b"MOVE ",
        b"LOCK ",
        b"UNLOCK ",
        b"REPORT ",
        b"SEARCH ",
        b"PURGE ",
    ];
    let mut answer = Match::No;
    for method in METHODS {
        match prefix(bytes, method) {
            Match::Yes => {
                return match bytes.get(method.len()) {
                    None => Match::Partial,
                    Some(byte) if byte.is_ascii_graphic() && !ends_otherwise(bytes) => Match::Yes,
                    Some(_) => Match::No,
                };
            }
            Match::Partial => answer = Match::Partial,
            Match::No => {}
        }
    }
    if is_request_line(bytes) { Match::Yes } else { answer }
}

/// Whether the first line is whole, and no request of HTTP: other protocols say GET and PUT as well.
/// The oldest one has a method and a path (HTTP/0.9).
fn ends_otherwise(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return false };
    let line = &bytes[..end];
    let is_oldest = line.starts_with(b"GET /") && !line[5..].contains(&b' ');
    !is_oldest && !line.windows(8).any(|part| part.starts_with(b" HTTP/1."))
}

/// A request line with a method that is not known here, once its end shows what it is.
fn is_request_line(bytes: &[u8]) -> bool {
    const LONGEST: usize = 8 * 1024;
    let line = &bytes[..bytes.len().min(LONGEST)];
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let mut words = line[..end].split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let is_method = |method: &[u8]| {
        !method.is_empty()
            && method.iter().all(|c| c.is_ascii_uppercase() || matches!(c, b'_' | b'-'))
    };
    method.is_some_and(is_method)
        && target.is_some_and(|target| target.iter().all(u8::is_ascii_graphic))
        && version.is_some_and(|version| version.starts_with(b"HTTP/1."))
}

/// Whether `bytes` begin with a record that carries a ClientHello. Strict, for clear text must
/// not pass for one: record and message lengths agree, the version is one that exists, the
/// session id has a legal length.
fn client_hello_here(bytes: &[u8]) -> Match {
    let holds = |at: usize, test: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| test(*byte));
    let plausible = holds(0, |kind| kind == 0x16)
        && holds(1, |major| major == 3)
        && holds(2, |minor| minor <= 4)
        && holds(5, |message| message == 1)
        && holds(6, |length| length == 0)
        && holds(9, |major| major == 3)
        && holds(10, |minor| minor <= 4)
        && holds(43, |session_id| session_id <= 32);
    let lengths_agree = bytes.get(..9).is_none_or(|head| {
        let record = u32::from(u16::from_be_bytes([head[3], head[4]]));
        let message = u32::from(u16::from_be_bytes([head[7], head[8]]));
        (42..=0x4000).contains(&message)
            && (record == message + 4 || (16..message + 4).contains(&record))
    });
    match (plausible && lengths_agree, bytes.len() > 43) {
        (false, _) => Match::No,
        (true, false) => Match::Partial,
        (true, true) => Match::Yes,
    }
}

/// Where a ClientHello (or what may become one) begins in the middle of other bytes.
pub fn client_hello(bytes: &[u8]) -> (Match, usize) {
    let answer = |at: usize| (client_hello_here(&bytes[at..]), at);
    let here = (0..bytes.len()).filter(|at| bytes[*at] == 0x16).map(answer);
    here.into_iter().find(|(found, _)| *found != Match::No).unwrap_or((Match::No, bytes.len()))
}

/// Position of a record that carries a ServerHello or a fatal alert in the middle of other bytes.
pub fn server_hello(bytes: &[u8]) -> Option<usize> {
    bytes.windows(7).position(|window| {
        let record = u16::from_be_bytes([window[3], window[4]]);
        let hello = window[0] == 0x16 && (42..=0x4800).contains(&record) && window[5] == 2;
        let alert = window[0] == 0x15 && record == 2 && window[5] == 2;
        window[1] == 3 && window[2] <= 4 && (hello || alert)
    })
}
