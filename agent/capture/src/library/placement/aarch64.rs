//! Reading AArch64 code: linkage table stubs, calls and probe points.
//!
//! Instructions are four bytes, so nothing has to be disassembled in order. The kernel simulates
//! branches (`arch/arm64/kernel/probes/decode-insn.c`): probes at `bl` are cheap by nature.

use super::image::Code;

/// Words of `code` with their addresses.
fn words(code: Code<'_>) -> impl Iterator<Item = (u64, u32)> + '_ {
    code.bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .zip(0..)
        .map(move |(word, index): (u32, u64)| (code.address + 4 * index, word))
}

/// Sign-extends the low `bits` bits of `value`.
const fn signed(value: u32, bits: u32) -> i64 {
    ((value << (32 - bits)).cast_signed() >> (32 - bits)) as i64
}

/// Target of `b` or `bl` (Arm ARM C6.2.26, C6.2.35: imm26 times four).
fn branch_target(address: u64, word: u32) -> Option<u64> {
    let is_branch = word & 0x7c00_0000 == 0x1400_0000;
    is_branch.then(|| address.wrapping_add_signed(signed(word & 0x03ff_ffff, 26) * 4))
}

/// Page address of `adrp x16, page` (imm21 pages, split in immlo and immhi).
fn page_of_adrp_x16(address: u64, word: u32) -> Option<u64> {
    let is_adrp_x16 = word & 0x9f00_001f == 0x9000_0010;
    let pages = signed((word >> 5 & 0x7_ffff) << 2 | (word >> 29 & 3), 21);
    is_adrp_x16.then(|| (address & !0xfff).wrapping_add_signed(pages * 4096))
}

/// Offset of `ldr x17, [x16, #offset]` (imm12 times eight).
fn offset_of_ldr_x17(word: u32) -> Option<u64> {
    let is_ldr = word & 0xffc0_03ff == 0xf940_0211;
    is_ldr.then_some(u64::from(word >> 10 & 0xfff) * 8)
}

/// Addresses that a call of an imported function may name, with the table slot behind each.
pub fn stubs(code: Code<'_>) -> Vec<(u64, u64)> {
    const BTI_C: u32 = 0xd503_245f;
    let words: Vec<_> = words(code).collect();
    let mut stubs = Vec::new();
    for (index, pair) in words.windows(2).enumerate() {
        let (address, first) = pair[0];
        let Some(page) = page_of_adrp_x16(address, first) else { continue };
        let Some(offset) = offset_of_ldr_x17(pair[1].1) else { continue };
        stubs.push((address, page + offset));
        if index > 0 && words[index - 1].1 == BTI_C {
            stubs.push((address - 4, page + offset));
        }
    }
    stubs
}

/// Calls and tail calls in `code` as (address, target).
pub fn calls(code: Code<'_>, mut found: impl FnMut(u64, u64)) {
    for (address, word) in words(code) {
        if let Some(target) = branch_target(address, word) {
            found(address, target);
        }
    }
}

/// Whether the kernel simulates the instruction at the start of `code`: `b`, `bl`, `b.cond`,
/// `cbz`, `cbnz`, `tbz`, `tbnz` and the hints that are no-operations.
pub fn is_emulated(code: Code<'_>) -> bool {
    words(code).next().is_some_and(|(address, word)| {
        branch_target(address, word).is_some()
            || word & 0xff00_0010 == 0x5400_0000
            || word & 0x7c00_0000 == 0x3400_0000
            || word & 0xffff_f01f == 0xd503_201f
    })
}

/// The instruction after the call at `call`, where `x0` holds the returned value.
pub fn after_call(body: Code<'_>, call: u64) -> Option<u64> {
    let point = call + 4;
    let joined = words(body).any(|(address, word)| {
        let is_call = word & 0xfc00_0000 == 0x9400_0000;
        let conditional = (word & 0xff00_0010 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000)
            .then(|| address.wrapping_add_signed(signed(word >> 5 & 0x7_ffff, 19) * 4));
        let target = conditional.or_else(|| branch_target(address, word).filter(|_| !is_call));
        target == Some(point)
    });
    (!joined).then_some(point)
}

/// Whether the third argument (`w2`) of the call at `call` is set from a constant right before
/// (`movz w2, #imm16`).
pub fn third_argument_is_constant(body: Code<'_>, call: u64) -> bool {
    const NEAR: u64 = 12 * 4;
    let near = body.slice(call.saturating_sub(NEAR).max(body.address), call);
    words(near).any(|(_, word)| word & 0xffe0_001f == 0x5280_0002)
}

/// Offset of the member that a getter of the form `return object->member` reads: of the one
/// `ldr w0|x0, [xN, #offset]` that is returned. `None` where there are several, or none.
pub fn member_returned(body: Code<'_>) -> Option<u64> {
    const RET: u32 = 0xd65f_03c0;
    let words: Vec<u32> = words(body).map(|(_, word)| word).collect();
    let mut offsets: Vec<u64> = words
        .iter()
        .enumerate()
        .filter_map(|(at, word)| {
            let offset = match word & 0xffc0_001f {
                0xb940_0000 => u64::from(word >> 10 & 0xfff) * 4,
                0xf940_0000 => u64::from(word >> 10 & 0xfff) * 8,
                _ => return None,
            };
            // Some builds clear the registers they used: `mov xN, #0`.
            let mut after = words[at + 1..].iter();
            let next = after.find(|word| **word & 0x7fff_ffe0 != 0x5280_0000)?;
            (*next == RET).then_some(offset)
        })
        .collect();
    offsets.dedup();
    <[u64; 1]>::try_from(offsets).ok().map(|[offset]| offset)
}

/// Offset at which a setter of the form `object->member = value` stores its second argument:
/// `str x1, [x0, #offset]`, or `stp x1, x2, [x0, #offset]`, before any branch.
pub fn member_set(body: Code<'_>) -> Option<u64> {
    words(body).take(4).find_map(|(_, word)| {
        let pair = u64::from(word >> 15 & 0x7f) * 8;
        match (word & 0xffc0_03ff, word & 0xffc0_7fff) {
            (0xf900_0001, _) => Some(u64::from(word >> 10 & 0xfff) * 8),
            (_, 0xa900_0801) => Some(pair),
            _ => None,
        }
    })
}
