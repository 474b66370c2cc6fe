//! Protocols of lines in the clear: who they are, and whether an upgrade may still come.

use super::{
    Protocol, foreign, lines,
    signatures::{Match, prefix},
    stage::Stage,
    statistics,
};

/// Bytes of a client without which nothing is told.
const LEAST: usize = 4;
/// Of the first line of a protocol that is told by it, as many are looked at.
const START_OF_A_LINE: usize = 16;

/// Judges what is not known as binary.
pub fn classify(client: &[u8], server: &[u8]) -> (Protocol, Stage) {
    let (greeting, greeted) = greeting(server);
    let protocol = protocol(client, server, greeting);
    if protocol == Protocol::Ssh {
        return (protocol, Stage::Opaque);
    }
    if client.len() < LEAST {
        let greets = !matches!(
            protocol,
            Protocol::Other | Protocol::Redis | Protocol::Memcached | Protocol::Xmpp
        );
        return (protocol, if greets { Stage::Greeted } else { Stage::Unrecognised });
    }
    if protocol == Protocol::Xmpp {
        return (protocol, xmpp(client, server));
    }
    if protocol == Protocol::Other {
        return (protocol, unknown(client, server, greeted));
    }
    if IN_WHOLE_LINES.contains(&protocol) {
        return match lines::stage(client, server, protocol) {
            // Its next line may tell SMTP from FTP.
            Stage::StaysClear if !greeted => (protocol, Stage::MayUpgrade),
            // A greeting that other protocols have as well.
            Stage::Unrecognised => match unknown(client, server, greeted) {
                Stage::StaysClear => (Protocol::Other, Stage::StaysClear),
                _ => (protocol, Stage::Unrecognised),
            },
            stage => (protocol, stage),
        };
    }
    let line = client.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_text = statistics::text(&line[..line.len().min(START_OF_A_LINE)]) > 0;
    (protocol, if is_text { Stage::StaysClear } else { Stage::Unrecognised })
}

/// Protocols that are told by the server's greeting, or go on with other lines than their first.
const IN_WHOLE_LINES: [Protocol; 7] = [
    Protocol::Smtp,
    Protocol::Lmtp,
    Protocol::Ftp,
    Protocol::Imap,
    Protocol::Pop3,
    Protocol::Nats,
    Protocol::Irc,
];

/// More than an unknown protocol says before an upgrade is its work.
fn unknown(client: &[u8], server: &[u8], greeted: bool) -> Stage {
    let enough = greeted && client.len() >= statistics::SAMPLE;
    let is_clear = enough && statistics::reads_as_clear(client, server);
    if is_clear { Stage::StaysClear } else { Stage::Unrecognised }
}

fn xmpp(client: &[u8], server: &[u8]) -> Stage {
    let says = |bytes: &[u8], tag: &[u8]| bytes.windows(tag.len()).any(|part| part == tag);
    let works = [&b"<auth"[..], b"<iq", b"<message", b"<presence", b"<handshake"];
    if works.iter().any(|tag| says(client, tag)) {
        Stage::StaysClear
    } else if says(client, b"<starttls") && !says(server, b"<failure") {
        Stage::Upgrading
    } else {
        Stage::MayUpgrade
    }
}

/// Longest greeting that is waited for.
const GREETING_BYTES: usize = 1024;

/// The reply that greets a client of SMTP or FTP, and whether it is whole: its last line has a
/// space after the code, the others a hyphen (RFC 5321 section 4.2.1, RFC 959 section 4.2).
fn greeting(server: &[u8]) -> (&[u8], bool) {
    let [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] = server else {
        return (&[], true);
    };
    let mut length = 0;
    for line in server.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        if length > GREETING_BYTES {
            break;
        }
        if line.ends_with(b"\n") && line.get(3) != Some(&b'-') {
            return (&server[..length], true);
        }
    }
    (&server[..server.len().min(GREETING_BYTES)], server.len() > GREETING_BYTES)
}

fn protocol(client: &[u8], server: &[u8], greeting: &[u8]) -> Protocol {
    let says = |bytes: &[u8], word: &str| {
        bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word.as_bytes())
    };
    // Encodings of encrypted bytes may begin with any letters: a word ends where its argument or the
    // line does.
    let ends = |bytes: &[u8], word: &str| {
        bytes.get(word.len()).is_some_and(|next| next.is_ascii_whitespace() || *next == b'-')
    };
    let starts = |words: &[&str]| words.iter().any(|word| says(client, word) && ends(client, word));
    let greets = |word: &str| server.starts_with(word.as_bytes()) && ends(server, word);
    let has = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    if opens_stream(client) {
        Protocol::Xmpp
    } else if starts(&["EHLO", "HELO"]) {
        Protocol::Smtp
    } else if is_redis(client) {
        // Its server says +OK as well, as POP3's does.
        Protocol::Redis
    } else if greets("* OK") || greets("* PREAUTH") {
        Protocol::Imap
    } else if greets("+OK") {
        Protocol::Pop3
    } else if server.starts_with(b"INFO {") {
        Protocol::Nats
    } else if has(greeting, b"SMTP") {
        Protocol::Smtp
    } else if starts(&["AUTH TLS", "AUTH SSL", "FEAT", "USER"]) || greets("220") {
        Protocol::Ftp
    } else if starts(&["CAP LS", "NICK"]) || starts(&["STARTTLS"]) && server.starts_with(b":") {
        Protocol::Irc
    } else if starts(&["LHLO"]) {
        Protocol::Lmtp
    } else if client.starts_with(b"SSH-") || foreign::greets_as_ssh(server) {
        Protocol::Ssh
    } else if client.starts_with(b"STOMP\n") || client.starts_with(b"CONNECT\n") {
        Protocol::Stomp
    } else if first_line_ends(client, b" RTSP/1.0") {
        Protocol::Rtsp
    } else if first_line_ends(client, b" SIP/2.0") {
        Protocol::Sip
    } else if MEMCACHED.iter().any(|verb| is_command(client, verb)) {
        Protocol::Memcached
    } else {
        Protocol::Other
    }
}

/// Whether the first line is whole and ends like this.
fn first_line_ends(client: &[u8], end: &[u8]) -> bool {
    let line = client.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    line.ends_with(b"\n") && line.trim_ascii_end().ends_with(end)
}

/// A stream of XMPP (RFC 6120 section 4.2), perhaps after an XML declaration, as far as it goes.
fn opens_stream(client: &[u8]) -> bool {
    const DECLARATION: &[u8] = b"<?xml";
    if client.is_empty() || prefix(client, DECLARATION) == Match::Partial {
        return !client.is_empty();
    }
    let mut rest = client;
    if client.starts_with(DECLARATION) {
        let end = client.iter().position(|byte| *byte == b'>');
        rest = end.map_or(&[], |end| client[end + 1..].trim_ascii_start());
    }
    prefix(rest, b"<stream") != Match::No
}

/// Commands of memcached's text protocol (protocol.txt).
const MEMCACHED: [&[u8]; 20] = [
    b"get",
    b"gets",
    b"gat",
    b"gats",
    b"set",
    b"add",
    b"replace",
    b"append",
    b"prepend",
    b"cas",
    b"delete",
    b"incr",
    b"decr",
    b"touch",
    b"mg",
    b"ms",
    b"md",
    b"stats",
    b"version",
    b"flush_all",
];

/// Whether a client begins with this command, and graphic bytes or the end of the line after it.
fn is_command(client: &[u8], verb: &[u8]) -> bool {
    match client.strip_prefix(verb) {
        Some([b'\r', b'\n', ..]) => true,
        Some([b' ', argument, ..]) => argument.is_ascii_graphic(),
        _ => false,
    }
}

/// An array of RESP (Redis serialization protocol), which all clients send, or a word that people
/// and health checks do.
fn is_redis(client: &[u8]) -> bool {
    let digits = match client {
        [b'*', rest @ ..] => rest.iter().take(4).take_while(|c| c.is_ascii_digit()).count(),
        _ => 0,
    };
    digits > 0 && client[1 + digits..].starts_with(b"\r\n$")
        || [&b"PING\r\n"[..], b"INFO\r\n"].iter().any(|word| client.starts_with(word))
}
