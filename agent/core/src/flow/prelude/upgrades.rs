//! Protocols that begin in clear and may become TLS (RFC 3207 SMTP, RFC 2595 IMAP and POP3,
//! RFC 4217 FTP, RFC 4511 LDAP, RFC 6120 XMPP, PostgreSQL, MySQL, SOCKS, HTTP CONNECT, RDP).
//!
//! One rule for all: TLS begins where a ClientHello is answered by a ServerHello, wherever that is.
//! What the protocols are known for is only the name, and how long to wait for an upgrade: a
//! client that goes on with its work in clear will not upgrade any more.

use super::{
    Ending, Opening, TlsStart,
    signatures::{self, Match, prefix},
};

/// What a clear-text client said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing that rules an upgrade out.
    MayUpgrade,
    /// It went on in clear, or the server declined.
    StaysClear,
    /// It is encrypted in a way of its own, which is not read here.
    Opaque,
}

/// Judges a connection that did not begin with TLS.
pub fn judge(client: &[u8], server: &[u8], ending: Ending) -> Opening {
    let ended = ending == Ending::Closed;
    let (hello, client_at) = signatures::client_hello(client);
    let (protocol, stage) = classify(&client[..client_at], server);
    match hello {
        _ if stage != Stage::MayUpgrade => {}
        Match::Yes => {
            let server_at = signatures::server_hello(server).or(ended.then_some(server.len()));
            return server_at
                .map_or(Opening::Pending, |server_at| upgrade([client_at, server_at], protocol));
        }
        Match::Partial => return Opening::Pending,
        Match::No => {}
    }
    // The client's side may be missing; a server that says hello was asked to.
    if ended && let Some(server_at) = signatures::server_hello(server) {
        return upgrade([client.len(), server_at], protocol);
    }
    match stage {
        // Of an unknown protocol no upgrade is known either.
        Stage::MayUpgrade
            if ending == Ending::SourceEnded && protocol == "other" && client.len() >= 4 =>
        {
            Opening::Plaintext(protocol)
        }
        Stage::MayUpgrade if !ended => Opening::Pending,
        Stage::Opaque => Opening::Opaque(protocol),
        Stage::MayUpgrade | Stage::StaysClear => Opening::Plaintext(protocol),
    }
}

/// TLS begins at these places of both sides, behind this protocol in clear.
pub const fn upgrade(at: [usize; 2], protocol: &'static str) -> Opening {
    Opening::Tls(TlsStart { at, starttls: Some(protocol), ssl2_hello: None })
}

/// The protocol's name as far as it can be told.
pub fn named(client: &[u8], server: &[u8]) -> &'static str {
    classify(client, server).0
}

fn classify(client: &[u8], server: &[u8]) -> (&'static str, Stage) {
    binary(client, server).unwrap_or_else(|| text(client, server))
}

const POSTGRESQL_REQUESTS: [&[u8]; 2] = [
    // SSLRequest and GSSENCRequest: length 8, code 1234,5679 and 1234,5680.
    &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
    &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30],
];

/// The OID of the LDAP StartTLS operation, RFC 4511 section 4.14.1.
const LDAP_STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

fn binary(client: &[u8], server: &[u8]) -> Option<(&'static str, Stage)> {
    use Stage::{MayUpgrade, StaysClear};
    let stage = |clear| if clear { StaysClear } else { MayUpgrade };
    if client.len() < 4 {
        return mysql_greeting(server).then_some(("mysql", MayUpgrade));
    }
    if is_openvpn(client) {
        return Some(("openvpn", Stage::Opaque));
    }
    for request in POSTGRESQL_REQUESTS {
        match prefix(client, request) {
            Match::Yes => {
                // 'N' declines; what follows is another request or the startup message in clear.
                let more = &client[request.len()..];
                let again = more.is_empty()
                    || POSTGRESQL_REQUESTS.iter().any(|next| prefix(more, next) != Match::No);
                let declined = server.first() == Some(&b'N');
                return Some(("postgresql", stage(declined && !again)));
            }
            Match::Partial => return Some(("postgresql", MayUpgrade)),
            Match::No => {}
        }
    }
    // The startup message in clear: a length, then protocol 3.0.
    match client {
        [0, _, _, _, 0, 3, 0, 0, ..] => return Some(("postgresql", StaysClear)),
        [0, ..] if client.len() < 8 => return Some(("postgresql", MayUpgrade)),
        _ => {}
    }
    // MySQL: packet number 1 is the answer to the server's greeting; capability CLIENT_SSL 0x800.
    if client.get(1..4) == Some(&[0, 0, 1]) && (server.is_empty() || mysql_greeting(server)) {
        let ssl = client.get(4..6).map(|flags| flags[1] & 0x08 != 0);
        return Some(("mysql", stage(ssl == Some(false))));
    }
    match client {
        [0x30, ..] => {
            let starttls = client.windows(LDAP_STARTTLS.len()).any(|part| part == LDAP_STARTTLS);
            // Anything but an ExtendedRequest (0x77) is the client's work.
            let other = ldap_operation(client).is_some_and(|tag| tag != 0x77);
            Some(("ldap", stage(other && !starttls)))
        }
        [5, methods, rest @ ..]
            if rest.len() <= usize::from(*methods) || server.first() == Some(&5) =>
        {
            Some(("socks", MayUpgrade))
        }
        [4, 1 | 2, ..] => Some(("socks", MayUpgrade)),
        // RDP: TPKT version 3, X.224 connection request.
        [3, 0, ..] if client.get(5).is_none_or(|code| *code == 0xe0) => Some(("rdp", MayUpgrade)),
        _ => None,
    }
}

/// The operation's tag in an LDAPMessage: SEQUENCE, length, INTEGER message id, operation.
fn ldap_operation(client: &[u8]) -> Option<u8> {
    let length = *client.get(1)?;
    let after_length = if length & 0x80 == 0 { 2 } else { 2 + usize::from(length & 0x7f) };
    let id = client.get(after_length..)?;
    if id.first()? != &2 {
        return Some(0);
    }
    id.get(2 + usize::from(*id.get(1)?)).copied()
}

/// OpenVPN over TCP: a packet length, then P_CONTROL_HARD_RESET_CLIENT_V2 or _V3 with key id 0.
/// Its TLS is wrapped packet by packet.
fn is_openvpn(client: &[u8]) -> bool {
    let [high, low, opcode, ..] = client else { return false };
    let length = u16::from_be_bytes([*high, *low]);
    matches!(opcode, 0x38 | 0x50) && (14..=256).contains(&length)
}

/// Protocol version 10 and packet number 0 in a short packet, or the beginning of that.
fn mysql_greeting(server: &[u8]) -> bool {
    server.get(1..).is_some_and(|after| prefix(after, &[0, 0, 0, 10]) != Match::No)
}

/// What an unknown protocol may say before an upgrade. More than that is its work, in clear.
const UNKNOWN_PROTOCOL_BYTES: usize = 128;

/// Commands that a client sends before an upgrade. Any other line is its work, in clear.
const BEFORE_UPGRADE: &[&str] = &[
    "EHLO",
    "HELO",
    "LHLO",
    "STARTTLS",
    "CAPABILITY",
    "STLS",
    "CAPA",
    "FEAT",
    "NOOP",
    "CAP",
    "ID",
    "LANG",
    "SYST",
    "HELP",
    "QUIT",
    "LOGOUT",
    "CLNT",
    "OPTS",
];

fn text(client: &[u8], server: &[u8]) -> (&'static str, Stage) {
    let (greeting, greeted) = greeting(server);
    let protocol = text_protocol(client, server, greeting);
    if client.len() < 4 {
        return (protocol, Stage::MayUpgrade);
    }
    if protocol == "xmpp" {
        let working = [&b"<auth"[..], b"<iq", b"<message", b"<presence", b"<handshake"]
            .iter()
            .any(|tag| client.windows(tag.len()).any(|part| part == *tag));
        return (protocol, if working { Stage::StaysClear } else { Stage::MayUpgrade });
    }
    if protocol == "http_connect" {
        // A client that is refused may ask again with what was missing (RFC 9110 section 15.5.8).
        return (protocol, Stage::MayUpgrade);
    }
    if protocol == "ssh" {
        return (protocol, Stage::StaysClear);
    }
    if !greeted {
        // Its next line may tell SMTP from FTP.
        return (protocol, Stage::MayUpgrade);
    }
    if protocol == "other" {
        let enough = client.len() >= UNKNOWN_PROTOCOL_BYTES;
        return (protocol, if enough { Stage::StaysClear } else { Stage::MayUpgrade });
    }
    for line in client.split_inclusive(|byte| *byte == b'\n') {
        let complete = line.ends_with(b"\n");
        if !before_upgrade(line, complete) {
            return (protocol, Stage::StaysClear);
        }
    }
    (protocol, Stage::MayUpgrade)
}

/// Whether a line (or its beginning) is one that may come before an upgrade.
fn before_upgrade(line: &[u8], complete: bool) -> bool {
    // All that counts here is ASCII; a character may be cut where the bytes end.
    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
    let mut words = line.split_ascii_whitespace();
    let Some(first) = words.next() else { return line.len() < 128 };
    let second = words.next();
    let whole = |word: &str, more: bool| {
        BEFORE_UPGRADE
            .iter()
            .any(|known| *known == word || (!complete && !more && known.starts_with(word)))
    };
    match second {
        None => {
            // IMAP puts a tag of the client's choice first.
            whole(first, line.ends_with(' '))
                // Alone it asks for the mechanisms.
                || first == "AUTH"
                || (!complete && "AUTH".starts_with(first))
                || (!complete && is_imap_tag(first))
        }
        Some(second) if first == "AUTH" => ["TLS", "TLS-C", "SSL", "TLS-P"]
            .iter()
            .any(|how| *how == second || (!complete && how.starts_with(second))),
        Some(_) if whole(first, true) => true,
        Some(second) => is_imap_tag(first) && whole(second, words.next().is_some()),
    }
}

fn is_imap_tag(word: &str) -> bool {
    word.len() <= 12 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

/// Longest greeting that is waited for.
const GREETING_BYTES: usize = 1024;

/// The reply that greets a client of SMTP or FTP, and whether it is whole: its last line has a
/// space behind the code, the others a hyphen (RFC 5321 section 4.2.1, RFC 959 section 4.2).
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

fn text_protocol(client: &[u8], server: &[u8], greeting: &[u8]) -> &'static str {
    let says = |bytes: &[u8], word: &str| {
        bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word.as_bytes())
    };
    let starts = |words: &[&str]| words.iter().any(|word| says(client, word));
    let has = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    if client.starts_with(b"CONNECT ") {
        "http_connect"
    } else if [&b"<?xml"[..], b"<stream"].iter().any(|tag| prefix(client, tag) != Match::No)
        && !client.is_empty()
    {
        "xmpp"
    } else if starts(&["EHLO", "HELO"]) {
        "smtp"
    } else if server.starts_with(b"* OK") || server.starts_with(b"* PREAUTH") {
        "imap"
    } else if server.starts_with(b"+OK") {
        "pop3"
    } else if has(greeting, b"SMTP") {
        "smtp"
    } else if starts(&["AUTH TLS", "AUTH SSL", "FEAT", "USER "]) || server.starts_with(b"220") {
        "ftp"
    } else if starts(&["CAP LS", "NICK "]) || starts(&["STARTTLS"]) && server.starts_with(b":") {
        "irc"
    } else if starts(&["LHLO"]) {
        "lmtp"
    } else if client.starts_with(b"SSH-") || server.starts_with(b"SSH-") {
        "ssh"
    } else if matches!(client, [b'*', b'0'..=b'9', ..]) {
        "redis"
    } else {
        "other"
    }
}
