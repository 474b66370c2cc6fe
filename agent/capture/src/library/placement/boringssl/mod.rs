//! BoringSSL inside a program (Envoy, gRPC) or AWS-LC, which descends from it.
//!
//! `ssl_do_msg_callback(ssl, is_write, content_type, data, length)` is called for every handshake
//! message in the clear, whether or not a callback is set (ssl/ssl_lib.cc). It has no name in a
//! stripped file, but its calls have a look: each gives constants for direction and content type,
//! from a short list, and no other function is called like that.

mod verification;

use std::collections::{HashMap, HashSet};

use super::{
    Hook, Isa, Linked, PlacedPoints, Placement, Selection,
    image::Code,
    instruction_set::{Argument, NEAR, Site, Walk},
};
use crate::library::elf::{Elf, ElfError, Functions};

/// Handshake message, the content type whose calls are probed (RFC 8446 section 5.1).
const HANDSHAKE: u64 = 0x16;
const ALERT: u64 = 0x15;
/// What every candidate must be called with: handshake message, record header
/// (`SSL3_RT_HEADER`), ChangeCipherSpec, alert.
const CHARACTERISTIC: [u16; 4] = [0x16, 0x100, 0x14, 0x15];
/// All content types of `ssl_do_msg_callback`: SSL 2 hello, those of records up to ACK
/// (RFC 9147), record header, the inner hello of ECH.
const KNOWN: [u64; 8] = [0, 0x14, 0x15, 0x16, 0x17, 0x1a, 0x100, 0x101];

/// Bytes between a constant and the call it is for.
/// Most functions that are looked at closer.
const MAX_CANDIDATES: usize = 64;
/// Most functions that are called with one of the constants.
const MAX_CALLEES: usize = 1 << 16;
/// Most calls of one candidate; real ones have about twenty.
const MAX_CALLS: usize = 1024;
/// Longest function that is walked through.
const MAX_FUNCTION: u64 = 1 << 20;

/// Places the probes of a program that holds BoringSSL.
///
/// # Errors
/// When the file is damaged or would take too long.
pub fn place(elf: &Elf<'_>, functions: &Functions) -> Result<Linked, ElfError> {
    let candidates = candidates(elf, functions)?;
    if candidates.is_empty() {
        // Its name alone may stand in any program.
        return Ok(Linked::Absent);
    }
    let calls = calls_of(elf, &candidates)?;
    let mut accepted = Vec::new();
    for candidate in candidates {
        let at = calls.get(&candidate).map(Vec::as_slice).unwrap_or_default();
        accepted.extend(message_callback(elf, functions, candidate, at)?);
    }
    let Ok([sites]) = <[Vec<Site>; 1]>::try_from(accepted) else {
        let detail = "BoringSSL: the calls of ssl_do_msg_callback are not told from others";
        return Ok(Linked::Unsupported(detail.to_owned()));
    };
    let mut points = PlacedPoints::new(elf);
    let with = |content_type: u64| {
        let sites = sites.iter().filter(move |site| site.arguments[1] == Some(content_type));
        sites.map(|site| site.at)
    };
    points.extend(Hook::BoringMessage, with(HANDSHAKE))?;
    points.extend(Hook::BoringAlert, with(ALERT))?;
    if elf.isa == Isa::X86_64 {
        verification::place(elf, functions, &mut points)?;
    }
    let placement = Placement {
        points: points.sorted(),
        digest_calls: sites.len(),
        selection: Selection::Arguments,
        verify_offsets: None,
    };
    Ok(Linked::Placed { name: "BoringSSL".to_owned(), placement })
}

/// Functions that are called with every characteristic content type as third argument.
fn candidates(elf: &Elf<'_>, functions: &Functions) -> Result<Vec<u64>, ElfError> {
    let instructions = elf.isa.instructions();
    let mut seen: HashMap<u64, u8> = HashMap::new();
    for segment in elf.code() {
        elf.reader.windows((segment.offset, segment.size), 2 * NEAR, |window| {
            let address = segment.address + (window.offset - segment.offset);
            let code = Code { address, bytes: window.bytes, is_plt: false };
            instructions.may_call_with(code, window.fresh, &CHARACTERISTIC, &mut |bit, target| {
                if functions.starts_at(target) {
                    *seen.entry(target).or_default() |= 1 << bit;
                }
            });
            if seen.len() > MAX_CALLEES { Err(ElfError::TooMuch) } else { Ok(()) }
        })?;
    }
    let all = (1 << CHARACTERISTIC.len()) - 1;
    let mut candidates: Vec<u64> =
        seen.into_iter().filter(|(_, bits)| *bits == all).map(|(target, _)| target).collect();
    candidates.sort_unstable();
    if candidates.len() > MAX_CANDIDATES { Err(ElfError::TooMuch) } else { Ok(candidates) }
}

/// Where each of `callees` is called, or seems to be.
fn calls_of(elf: &Elf<'_>, callees: &[u64]) -> Result<HashMap<u64, Vec<u64>>, ElfError> {
    let wanted: HashSet<u64> = callees.iter().copied().collect();
    let mut calls: HashMap<u64, Vec<u64>> = HashMap::new();
    if wanted.is_empty() {
        return Ok(calls);
    }
    for segment in elf.code() {
        elf.reader.windows((segment.offset, segment.size), 8, |window| {
            let address = segment.address + (window.offset - segment.offset);
            let fresh = address + window.fresh as u64;
            let code = Code { address, bytes: window.bytes, is_plt: false };
            let mut too_many = false;
            elf.isa.instructions().may_call(code, &mut |at, target| {
                if at < fresh && wanted.contains(&target) {
                    let calls = calls.entry(target).or_default();
                    calls.push(at);
                    too_many |= calls.len() > MAX_CALLS;
                }
            });
            if too_many { Err(ElfError::TooMuch) } else { Ok(()) }
        })?;
    }
    Ok(calls)
}

/// The calls of `callee` with their arguments, if it is `ssl_do_msg_callback`: every one of them
/// gives a direction and a known content type, and messages go both ways.
fn message_callback(
    elf: &Elf<'_>,
    functions: &Functions,
    callee: u64,
    calls: &[u64],
) -> Result<Option<Vec<Site>>, ElfError> {
    let mut around = HashSet::new();
    for call in calls {
        let Some(function) = functions.around(*call) else { return Ok(None) };
        around.insert(function);
    }
    let mut sites = Vec::new();
    for (start, end) in around {
        let len = end.saturating_sub(start).min(MAX_FUNCTION);
        let Some(offset) = elf.offset_of(start) else { return Ok(None) };
        let bytes = elf.reader.piece(offset, len.min(elf.reader.size() - offset))?;
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        let arguments = [Argument::Second, Argument::Third];
        let instructions = elf.isa.instructions();
        let found = instructions.calls_of(body, &[callee], arguments, Walk::UpToTheCall);
        sites.extend(found.unwrap_or_default());
    }
    sites.sort_unstable_by_key(|site| site.at);
    let is_known = |site: &Site| {
        matches!(site.arguments[0], Some(0 | 1))
            && site.arguments[1].is_some_and(|content_type| KNOWN.contains(&content_type))
    };
    // A call that is on no boundary of instructions is none, and then nothing here is certain.
    let all = sites.len() == calls.len() && sites.iter().all(is_known);
    let has = |direction: u64| {
        sites.iter().any(|site| site.arguments == [Some(direction), Some(HANDSHAKE)])
    };
    Ok((all && has(0) && has(1)).then_some(sites))
}
