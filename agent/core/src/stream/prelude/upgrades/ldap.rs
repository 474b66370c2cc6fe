//! LDAP (RFC 4511): StartTLS, and binds that may encrypt what follows.

use super::{Protocol, Reading, Stage};

/// The OID of the LDAP StartTLS operation, RFC 4511 section 4.14.1.
const LDAP_STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Mechanisms that may encrypt everything after the bind (RFC 4513 section 5.2.1).
const LDAP_SEALS: [&[u8]; 3] = [b"GSSAPI", b"GSS-SPNEGO", b"DIGEST-MD5"];

/// Reads a client's first messages.
pub fn read(client: &[u8], server: &[u8]) -> Reading {
    stage(client, server).map(|stage| (Protocol::Ldap, stage))
}

/// Reads messages until one decides.
fn stage(client: &[u8], server: &[u8]) -> Option<Stage> {
    let mut rest = client;
    let mut said = Said { stage: Stage::MayUpgrade, may_seal: false };
    let mut count = 0;
    while let Some((operation, length)) = ldap_message(rest) {
        let (message, next) = rest.split_at(length.min(rest.len()));
        said = after(said, operation, message, message.len() == length, server);
        count += 1;
        if count > MOST_QUESTIONS && said.stage == Stage::MayUpgrade {
            said.stage = Stage::StaysClear;
        }
        if said.stage == Stage::StaysClear {
            return Some(Stage::StaysClear);
        }
        rest = next;
    }
    // What is no message is not what was said in the clear.
    let may_be_message = rest.first().is_none_or(|tag| *tag == SEQUENCE) && rest.len() < LEAST;
    match said.stage {
        _ if count == 0 => None,
        stage if may_be_message => Some(stage),
        _ if said.may_seal => Some(Stage::Opaque),
        Stage::Upgrading => Some(Stage::Upgrading),
        _ => Some(Stage::Unrecognised),
    }
}

/// What the messages so far amount to.
#[derive(Clone, Copy)]
struct Said {
    stage: Stage,
    /// The last bind may encrypt what follows.
    may_seal: bool,
}

/// What one more message makes of it, which is whole or not.
fn after(before: Said, operation: u8, message: &[u8], is_whole: bool, server: &[u8]) -> Said {
    let says = |stage| Said { stage, may_seal: false };
    let has = |part: &[u8]| message.windows(part.len()).any(|window| window == part);
    match operation {
        EXTENDED_REQUEST if has(LDAP_STARTTLS) && declined(server) => says(Stage::MayUpgrade),
        EXTENDED_REQUEST if has(LDAP_STARTTLS) => says(Stage::Upgrading),
        BIND => bind(message, is_whole),
        // It goes on in the clear after a bind that might have encrypted.
        _ if before.may_seal => says(Stage::StaysClear),
        EXTENDED_REQUEST | UNBIND | ABANDON => says(Stage::MayUpgrade),
        SEARCH if asks_one_entry(message) => says(Stage::MayUpgrade),
        _ => says(Stage::StaysClear),
    }
}

/// A bind: with a password, by a mechanism of SASL, or by NTLM as Active Directory has it (MS-ADTS
/// section 5.1.1.1.3).
fn bind(message: &[u8], is_whole: bool) -> Said {
    const SIMPLE: u8 = 0x80;
    const SASL: u8 = 0xa3;
    const SICILY: [u8; 3] = [0x89, 0x8a, 0x8b];
    let may_seal = match bind_choice(message) {
        Some([kind, _]) if SICILY.contains(&kind) => true,
        Some([SASL, _]) if is_whole => {
            let has = |part: &&[u8]| message.windows(part.len()).any(|window| window == *part);
            LDAP_SEALS.iter().any(has)
        }
        // Anonymous: it proves nothing and gives nothing away.
        Some([SASL, _] | [SIMPLE, 0]) | None => {
            return Said { stage: Stage::MayUpgrade, may_seal: false };
        }
        Some(_) => false,
    };
    let stage = if may_seal { Stage::Upgrading } else { Stage::StaysClear };
    Said { stage, may_seal }
}

/// Whether a search (RFC 4511 section 4.5.1) asks for one entry: what the server can do, as clients
/// do before an upgrade. One that is cut may.
fn asks_one_entry(message: &[u8]) -> bool {
    const ENUMERATED: u8 = 0x0a;
    let scope = || {
        let (_, operation_at) = operation_at(message)?;
        let (_, fields, _) = element(message, operation_at)?;
        let (_, _, base_end) = element(message, fields)?;
        message.get(base_end..base_end + 3)
    };
    scope().is_none_or(|scope| scope == [ENUMERATED, 1, 0])
}

/// Whether an extended response has a result that is not success (RFC 4511 section 4.1.9).
fn declined(server: &[u8]) -> bool {
    const EXTENDED_RESPONSE: u8 = 0x78;
    let fails = |at: usize| {
        let result = element(server, at).and_then(|(_, begin, _)| server.get(begin..begin + 3));
        matches!(result, Some([0x0a, 1, code]) if *code != 0)
    };
    (0..server.len()).any(|at| server[at] == EXTENDED_RESPONSE && fails(at))
}

/// The tag of a bind's authentication (RFC 4511 section 4.2: version, name, and the choice) and its
/// length, once they are there.
fn bind_choice(message: &[u8]) -> Option<[u8; 2]> {
    let version = message.windows(4).position(|part| matches!(part, [2, 1, 2 | 3, 4]))?;
    let (_, _, end) = element(message, version + 3)?;
    message.get(end..)?.first_chunk().copied()
}

/// Where an LDAPMessage ends, and where its operation begins (RFC 4511 section 4.1.1: SEQUENCE,
/// length, INTEGER message id).
fn operation_at(bytes: &[u8]) -> Option<(usize, usize)> {
    let (SEQUENCE, at, end) = element(bytes, 0)? else { return None };
    let [2, id @ 1..=4, 0..0x80, ..] = *bytes.get(at..)? else { return None };
    Some((end, at + 2 + usize::from(id)))
}

/// The operation's tag of an LDAPMessage, which perhaps has controls after it, and the message's
/// length.
fn ldap_message(bytes: &[u8]) -> Option<(u8, usize)> {
    const CONTROLS: u8 = 0xa0;
    let (end, operation_at) = operation_at(bytes)?;
    let (operation, _, operation_end) = element(bytes, operation_at)?;
    // Requests of a client: application tags 0 to 23 (section 4.2 to 4.13), constructed or not.
    let is_request = matches!(
        operation,
        BIND..=0x77 if matches!(operation & 0x1f, 0 | 2 | 3 | 6 | 8 | 10 | 12 | 14 | 16 | 23)
    ) || matches!(operation, 0x42 | 0x4a | 0x50);
    let fits = operation_end == end
        || operation_end < end && bytes.get(operation_end).is_none_or(|tag| *tag == CONTROLS);
    (is_request && fits).then_some((operation, end))
}

/// The tag of an element of BER at this place, where its contents begin, and where they end.
fn element(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let [tag, length, ..] = *bytes.get(at..)? else { return None };
    let begin = at + 2;
    if length & 0x80 == 0 {
        return Some((tag, begin, begin + usize::from(length)));
    }
    let count = usize::from(length & 0x7f);
    let digits = bytes.get(begin..begin + count).filter(|_| (1..=4).contains(&count))?;
    let length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
    Some((tag, begin + count, begin + count + length))
}

const SEQUENCE: u8 = 0x30;
/// The first application tag that is constructed.
const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;
const EXTENDED_REQUEST: u8 = 0x77;
const UNBIND: u8 = 0x42;
const ABANDON: u8 = 0x50;
/// Bytes in which a message shows that it is one.
const LEAST: usize = 16;
/// A client that asks more before it upgrades is at its work.
const MOST_QUESTIONS: usize = 16;
