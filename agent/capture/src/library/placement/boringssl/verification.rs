//! Where BoringSSL learns what the server's certificate is worth.
//!
//! Its errors are raised with constants (`OPENSSL_PUT_ERROR` passes library, reason and the file's
//! name to `ERR_put_error`), by which two functions are known in a stripped file: the one that
//! verifies a chain, and the one that asks the application's callback. Compilers that order the
//! constants otherwise hide them; verification is then not seen.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use memchr::memmem;

use super::super::{
    Hook, PlacedPoints,
    image::Code,
    instruction_set::{Argument, InstructionSet as _, Walk},
    x86_64,
};
use crate::library::elf::{Elf, ElfError, Functions};

/// An error by which a function is known.
struct Raised {
    library: u8,
    reason: u16,
    /// How the name of its source file ends.
    file: &'static [u8],
}

/// `X509_R_NO_CERT_SET_FOR_US_TO_VERIFY` of `X509_verify_cert`, then
/// `SSL_R_CERTIFICATE_VERIFY_FAILED` and `SSL_R_SERVER_CERT_CHANGED` of `ssl_verify_peer_cert`.
const ERRORS: [Raised; 3] = [
    Raised { library: 11, reason: 122, file: b"x509/x509_vfy.cc\0" },
    Raised { library: 16, reason: 125, file: b"ssl/handshake.cc\0" },
    Raised { library: 16, reason: 273, file: b"ssl/handshake.cc\0" },
];

/// Bytes between the constants of one error.
const NEAR: usize = 40;
/// Most calls of `X509_verify_cert`; Envoy has five.
const MAX_CALLS: usize = 64;
/// Longest function that is walked through.
const MAX_FUNCTION: u64 = 64 << 10;
/// Most places of one name of a file.
const MAX_TEXTS: usize = 16;

/// Adds the points of both, as far as they are found: each must be known by all its errors, and
/// be the only one that is. For x86-64 only.
pub fn place(
    elf: &Elf<'_>,
    functions: &Functions,
    points: &mut PlacedPoints<'_, '_>,
) -> Result<(), ElfError> {
    let [chain, failed, changed] = raising_functions(elf, functions)?;
    if let Some(verify) = only(chain.into_iter()) {
        points.extend(Hook::BoringChain, after_calls(elf, functions, verify)?)?;
    }
    if let Some(ask) = only(failed.intersection(&changed).copied()) {
        points.extend(Hook::BoringCallback, answer_of_callback(elf, functions, ask)?)?;
    }
    Ok(())
}

/// The element of what has one.
fn only(mut set: impl Iterator<Item = u64>) -> Option<u64> {
    set.next().filter(|_| set.next().is_none())
}

/// Functions with `mov edi, library`, `mov edx, reason` and `lea rcx, file` close together, for
/// each error.
fn raising_functions(
    elf: &Elf<'_>,
    functions: &Functions,
) -> Result<[BTreeSet<u64>; ERRORS.len()], ElfError> {
    let texts = texts(elf)?;
    let mut found: [BTreeSet<u64>; ERRORS.len()] = Default::default();
    for segment in elf.code() {
        elf.reader.windows((segment.offset, segment.size), 2 * NEAR, |window| {
            let address = segment.address + (window.offset - segment.offset);
            for ((error, texts), found) in ERRORS.iter().zip(&texts).zip(&mut found) {
                let [low, high] = error.reason.to_le_bytes();
                let reason = [0xba, low, high, 0, 0];
                let library = [0xbf, error.library, 0, 0, 0];
                for at in memmem::find_iter(window.bytes, &reason) {
                    let first = at.saturating_sub(NEAR);
                    let near = &window.bytes[first..window.bytes.len().min(at + NEAR)];
                    let mut made = lea_rcx(near, address + first as u64);
                    if memmem::find(near, &library).is_some()
                        && made.any(|text| texts.contains(&text))
                    {
                        found.extend(functions.around(address + at as u64).map(|(start, _)| start));
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Addresses that `lea rcx, [rip + distance]` makes in `near`, which is loaded at `address`.
fn lea_rcx(near: &[u8], address: u64) -> impl Iterator<Item = u64> + '_ {
    memmem::find_iter(near, b"\x48\x8d\x0d").filter_map(move |at| {
        let distance = near.get(at + 3..at + 7)?.try_into().ok()?;
        let next = address + at as u64 + 7;
        Some(next.wrapping_add_signed(i32::from_le_bytes(distance).into()))
    })
}

/// For each error the addresses of the texts outside the code that its file's name ends.
fn texts(elf: &Elf<'_>) -> Result<[BTreeSet<u64>; ERRORS.len()], ElfError> {
    const LONGEST: usize = 256;
    let mut found: [BTreeSet<u64>; ERRORS.len()] = Default::default();
    for segment in elf.segments.iter().filter(|segment| !segment.executable) {
        elf.reader.windows((segment.offset, segment.size), LONGEST, |window| {
            for (error, found) in ERRORS.iter().zip(&mut found) {
                for at in memmem::find_iter(window.bytes, error.file).take(MAX_TEXTS) {
                    let before = &window.bytes[at.saturating_sub(LONGEST)..at];
                    let begins =
                        memchr::memrchr(0, before).map(|zero| at - before.len() + zero + 1);
                    let Some(begins) = begins else { continue };
                    let offset = window.offset - segment.offset + begins as u64;
                    found.insert(segment.address + offset);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// After each direct call of `callee`, where its result still is where it was returned, or that of
/// the application's function in its place (`app_verify_callback`).
fn after_calls(elf: &Elf<'_>, functions: &Functions, callee: u64) -> Result<Vec<u64>, ElfError> {
    let calls = super::calls_of(elf, &[callee])?.remove(&callee).unwrap_or_default();
    let mut points = Vec::new();
    for call in calls.iter().take(MAX_CALLS) {
        let Some((start, end)) = functions.around(*call) else { continue };
        let bytes = elf.at(start, end.saturating_sub(start).min(MAX_FUNCTION))?;
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        let arguments = [Argument::Second; 2];
        let walked = elf.isa.instructions().calls_of(body, &[callee], arguments, Walk::UpToTheCall);
        let is_boundary = walked.unwrap_or_default().iter().any(|site| site.at == *call);
        points.extend(is_boundary.then(|| x86_64::after_call_or_another(body, *call)).flatten());
    }
    Ok(points)
}

/// The place after the one call through a pointer whose result is judged right after, where the
/// application's answer (`enum ssl_verify_result_t`) still is where it was returned.
fn answer_of_callback(
    elf: &Elf<'_>,
    functions: &Functions,
    function: u64,
) -> Result<Option<u64>, ElfError> {
    let Some((start, end)) = functions.around(function) else { return Ok(None) };
    let bytes = elf.at(start, (end - start).min(MAX_FUNCTION))?;
    let body = Code { address: start, bytes: &bytes, is_plt: false };
    let instructions: Vec<Instruction> = x86_64::decode(body).collect();
    let judged = instructions.windows(2).filter(|pair| {
        let is_call = pair[0].flow_control() == FlowControl::IndirectCall;
        let is_eax =
            pair[1].op0_kind() == OpKind::Register && pair[1].op0_register() == Register::EAX;
        is_call && is_eax && matches!(pair[1].mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
    });
    let calls: Vec<u64> = judged.map(|pair| pair[0].ip()).collect();
    let Ok([call]) = <[u64; 1]>::try_from(calls) else { return Ok(None) };
    Ok(x86_64::X86_64.after_call(body, call))
}
