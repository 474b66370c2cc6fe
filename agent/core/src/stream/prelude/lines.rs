//! Commands in lines: whether a client speaks its protocol, and whether an upgrade may still come.
//!
//! A server's greeting says nothing of what the client does: only whole lines that begin with a
//! command of these protocols are clear text.

use super::{Protocol, stage::Stage, statistics};

/// Commands of SMTP, LMTP, POP3, FTP, IRC and NATS that may come before an upgrade. They carry no
/// password and no mail.
const BEFORE_UPGRADE: &[&str] = &[
    "EHLO", "HELO", "LHLO", "CAPA", "FEAT", "NOOP", "CAP", "LANG", "SYST", "HELP", "QUIT", "CLNT",
    "OPTS", "HOST", "USER", "MAIL", "RSET", "VRFY", "EXPN", "XCLIENT", "XFORWARD", "UTF8", "PROT",
    "PBSZ", "SITE", "REIN", "CCC", "CSID", "AUTH",
];
/// Commands of theirs that are a client's work: RFC 5321 and RFC 3030, RFC 1939, RFC 959 and RFC 3659,
/// RFC 2812, NATS's client protocol.
const WORK: &[&str] = &[
    "RCPT",
    "DATA",
    "BDAT",
    "ETRN",
    "TURN",
    "BURL",
    "SEND",
    "SAML",
    "SOML",
    "ATRN",
    "PASS",
    "APOP",
    "STAT",
    "LIST",
    "RETR",
    "DELE",
    "LAST",
    "TOP",
    "UIDL",
    "RPOP",
    "ACCT",
    "CWD",
    "CDUP",
    "SMNT",
    "PORT",
    "PASV",
    "EPRT",
    "EPSV",
    "LPRT",
    "LPSV",
    "TYPE",
    "STRU",
    "MODE",
    "STOR",
    "STOU",
    "APPE",
    "ALLO",
    "REST",
    "RNFR",
    "RNTO",
    "ABOR",
    "RMD",
    "MKD",
    "PWD",
    "NLST",
    "MLSD",
    "MLST",
    "SIZE",
    "MDTM",
    "MFMT",
    "XCWD",
    "XPWD",
    "XMKD",
    "XRMD",
    "XCUP",
    "COMB",
    "HASH",
    "XCRC",
    "AVBL",
    "DSIZ",
    "NICK",
    "JOIN",
    "PART",
    "TOPIC",
    "NAMES",
    "PRIVMSG",
    "NOTICE",
    "WHO",
    "WHOIS",
    "PING",
    "PONG",
    "OPER",
    "SERVICE",
    "SERVER",
    "MOTD",
    "LUSERS",
    "VERSION",
    "AUTHENTICATE",
    "CONNECT",
    "PUB",
    "HPUB",
    "SUB",
    "UNSUB",
];
/// Commands of IMAP (RFC 9051 section 6) that may come before an upgrade.
const IMAP_BEFORE_UPGRADE: &[&str] =
    &["CAPABILITY", "NOOP", "ID", "ENABLE", "LANGUAGE", "LOGOUT", "COMPARATOR"];
/// And those that are its work.
const IMAP_WORK: &[&str] = &[
    "LOGIN",
    "SELECT",
    "EXAMINE",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST",
    "LSUB",
    "XLIST",
    "NAMESPACE",
    "STATUS",
    "APPEND",
    "IDLE",
    "CLOSE",
    "UNSELECT",
    "EXPUNGE",
    "SEARCH",
    "FETCH",
    "STORE",
    "COPY",
    "MOVE",
    "UID",
    "CHECK",
    "SORT",
    "THREAD",
    "GETQUOTA",
    "GETQUOTAROOT",
    "GETACL",
    "MYRIGHTS",
    "GETMETADATA",
    "NOTIFY",
    "COMPRESS",
    "GETANNOTATION",
];
/// Mechanisms of SASL that may encrypt everything after them (RFC 4752, RFC 2831).
const SEALS: &[&str] = &["GSSAPI", "GSS-SPNEGO", "DIGEST-MD5", "NTLM", "KERBEROS_V4", "SRP"];
/// Longest line of blanks that is nothing said yet.
const LONGEST_BLANK: usize = 128;
/// Least answer to a mechanism that counts as credentials, with the end of its line: shorter ones
/// are there by chance.
const LEAST_ANSWER: usize = 6;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Blank,
    BeforeUpgrade,
    AsksForTls,
    /// It names a mechanism of SASL; what it is answered with follows.
    Authenticates {
        seals: bool,
    },
    Work,
    /// The client's commands are encrypted one by one (RFC 2228).
    Sealed,
    /// It may become a command.
    Cut,
    Unknown,
}

/// How far a client that speaks in lines has come.
pub fn stage(client: &[u8], server: &[u8], protocol: Protocol) -> Stage {
    let mut said = Stage::Unrecognised;
    let mut answers = None;
    for line in client.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = line.ends_with(b"\n");
        let is_text = statistics::text(line) > 0;
        let is_answer = answers.is_some() && is_base64(line);
        let upgrades = said == Stage::Upgrading;
        if !is_text {
            return match answers {
                _ if upgrades => said,
                Some(true) => Stage::Opaque,
                _ => Stage::Unrecognised,
            };
        }
        said = match read(line, protocol) {
            Line::Sealed if is_whole => return Stage::Opaque,
            Line::Work if is_whole => return Stage::StaysClear,
            Line::AsksForTls if !refused(server) => Stage::Upgrading,
            Line::Authenticates { seals } => {
                answers = Some(seals);
                Stage::MayUpgrade
            }
            Line::AsksForTls => Stage::MayUpgrade,
            Line::BeforeUpgrade | Line::Work | Line::Sealed if is_whole || !upgrades => {
                Stage::MayUpgrade
            }
            Line::Cut | Line::Unknown if is_answer && said == Stage::MayUpgrade => {
                if answers == Some(false) && is_whole && line.len() >= LEAST_ANSWER {
                    return Stage::StaysClear;
                }
                said
            }
            Line::Unknown => return if upgrades { said } else { Stage::Unrecognised },
            Line::Blank | Line::Cut | Line::BeforeUpgrade | Line::Work | Line::Sealed => said,
        };
    }
    said
}

fn read(line: &[u8], protocol: Protocol) -> Line {
    let is_whole = line.ends_with(b"\n");
    // All that counts here is ASCII; a character may be cut where the bytes end.
    let text = String::from_utf8_lossy(line).to_ascii_uppercase();
    // A word that nothing follows may be cut.
    let is_cut = !text.ends_with(|last: char| last.is_ascii_whitespace());
    let words: Vec<_> = text.split_ascii_whitespace().take(4).collect();
    let is_imap = protocol == Protocol::Imap;
    let (command, before, work) = match &words[..] {
        [] if line.len() < LONGEST_BLANK => return Line::Blank,
        [] => return Line::Unknown,
        [tag] if is_imap && is_tag(tag) && !is_whole => return Line::Cut,
        [tag, rest @ ..] if is_imap && is_tag(tag) => (rest, IMAP_BEFORE_UPGRADE, IMAP_WORK),
        _ if is_imap => return Line::Unknown,
        words => (words, BEFORE_UPGRADE, WORK),
    };
    let asks = ["STARTTLS", "STLS"];
    match command {
        [verb] if asks.contains(verb) => Line::AsksForTls,
        ["AUTH", how, ..] if how.starts_with("TLS") || *how == "SSL" => Line::AsksForTls,
        // What is sent at once is credentials.
        ["AUTH" | "AUTHENTICATE", how] if is_whole && (is_imap || command[0] == "AUTH") => {
            Line::Authenticates { seals: SEALS.contains(how) }
        }
        ["AUTH" | "AUTHENTICATE", how, _, ..] if is_imap || command[0] == "AUTH" => {
            if SEALS.contains(how) { Line::Authenticates { seals: true } } else { Line::Work }
        }
        // The mechanism is cut.
        ["AUTHENTICATE", ..] if is_imap => Line::Cut,
        ["ENC" | "CONF", _] if protocol == Protocol::Ftp => Line::Sealed,
        // Answers to a mechanism of FTP.
        ["ADAT", _] if protocol == Protocol::Ftp => Line::BeforeUpgrade,
        [verb] if is_cut && !before.contains(verb) && !work.contains(verb) => {
            let is_begun = |known: &&str| known.starts_with(verb);
            let mut known = before.iter().chain(work).chain(&asks);
            if known.any(is_begun) { Line::Cut } else { Line::Unknown }
        }
        [verb, ..] if before.contains(verb) => Line::BeforeUpgrade,
        [verb, ..] if work.contains(verb) => Line::Work,
        _ => Line::Unknown,
    }
}

/// What a client of IMAP puts before each command, by its own choice (RFC 9051 section 9: no atom's
/// specials, no plus).
fn is_tag(word: &str) -> bool {
    const LONGEST: usize = 64;
    let is_one = |byte: u8| byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(&byte);
    word.len() <= LONGEST && word.bytes().all(is_one)
}

/// Whether a line (or its beginning) is an answer to a mechanism of SASL: base64, perhaps of nothing.
fn is_base64(line: &[u8]) -> bool {
    let text = line.trim_ascii_end();
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=*".contains(byte))
}

/// Whether the server's last line refuses what was asked.
fn refused(server: &[u8]) -> bool {
    let last = server.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let last = String::from_utf8_lossy(last.unwrap_or_default()).to_ascii_uppercase();
    let tagged = || last.split_ascii_whitespace().nth(1);
    last.starts_with(['4', '5'])
        || last.starts_with("-ERR")
        || matches!(tagged(), Some("NO" | "BAD"))
}
