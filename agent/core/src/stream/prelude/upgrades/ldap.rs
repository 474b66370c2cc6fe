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

fn stage(client: &[u8], server: &[u8]) -> Option<Stage> {
    const EXTENDED_REQUEST: u8 = 0x77;
    const BIND_REQUEST: u8 = BIND;
    const SASL: u8 = 0xa3;
    let (operation, length) = ldap_message(client)?;
    let has = |part: &[u8]| client.windows(part.len()).any(|window| window == part);
    match operation {
        EXTENDED_REQUEST if has(LDAP_STARTTLS) => {
            // A result that is not success declines (RFC 4511 section 4.1.9).
            let declined = server.windows(3).any(|part| part[..2] == [0x0a, 1] && part[2] != 0);
            let next = client.get(length..).unwrap_or_default();
            Some(match (declined, ldap_message(next)) {
                (_, Some(_)) => Stage::StaysClear,
                (true, None) if next.is_empty() => Stage::MayUpgrade,
                (true, None) => Stage::Unrecognised,
                (false, None) => Stage::Upgrading,
            })
        }
        EXTENDED_REQUEST => Some(Stage::MayUpgrade),
        BIND_REQUEST => Some(match bind_choice(client) {
            Some(SASL) if client.len() >= length => sasl_bind(client, length),
            Some(SASL) | None => Stage::MayUpgrade,
            Some(_) => Stage::StaysClear,
        }),
        _ => Some(Stage::StaysClear),
    }
}

/// A bind by a mechanism of its own, of which the message has this length.
fn sasl_bind(client: &[u8], length: usize) -> Stage {
    let (bind, next) = client.split_at(length);
    let has = |part: &&[u8]| bind.windows(part.len()).any(|window| window == *part);
    if !LDAP_SEALS.iter().any(has) {
        return Stage::StaysClear;
    }
    match (next, ldap_message(next)) {
        ([], _) | (_, Some((BIND, _))) => Stage::Upgrading,
        (_, Some(_)) => Stage::StaysClear,
        _ => Stage::Opaque,
    }
}

/// The tag of a bind's authentication (RFC 4511 section 4.2: version, name, and the choice), once it
/// is there.
fn bind_choice(client: &[u8]) -> Option<u8> {
    let at = client.windows(4).position(|part| matches!(part, [2, 1, 2 | 3, 4]))?;
    client.get(at + 5 + usize::from(*client.get(at + 4)?)).copied()
}

/// The operation's tag of an LDAPMessage (RFC 4511 section 4.1.1: SEQUENCE, length, INTEGER message
/// id, operation, and perhaps controls), and the message's length.
fn ldap_message(bytes: &[u8]) -> Option<(u8, usize)> {
    const CONTROLS: u8 = 0xa0;
    let (0x30, at, end) = element(bytes, 0)? else { return None };
    let [2, id @ 1..=4, first, ..] = *bytes.get(at..)? else { return None };
    let operation_at = at + 2 + usize::from(id);
    let (operation, _, operation_end) = element(bytes, operation_at)?;
    // Requests of a client: application tags 0 to 23 (section 4.2 to 4.13), constructed or not.
    let is_request = matches!(
        operation,
        BIND..=0x77 if matches!(operation & 0x1f, 0 | 2 | 3 | 6 | 8 | 10 | 12 | 14 | 16 | 23)
    ) || matches!(operation, 0x42 | 0x4a | 0x50);
    let fits = operation_end == end
        || operation_end < end && bytes.get(operation_end).is_none_or(|tag| *tag == CONTROLS);
    (is_request && fits && first < 0x80).then_some((operation, end))
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

/// The first application tag that is constructed.
const BIND: u8 = 0x60;
