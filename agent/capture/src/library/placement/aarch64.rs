//! Reading AArch64 code: linkage table stubs, calls and probe points.
//!
//! Instructions are four bytes, so nothing has to be disassembled in order. The kernel simulates
//! branches (`arch/arm64/kernel/probes/decode-insn.c`): probes at `bl` are cheap by nature.

use std::collections::HashSet;

use super::{
    image::Code,
    instruction_set::{Argument, BEFORE, InstructionSet, NEAR, Site, Walk},
};

/// Arm, 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

impl InstructionSet for Aarch64 {
    fn stubs(&self, code: Code<'_>) -> Vec<(u64, u64)> {
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

    fn calls(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64)) {
        for (address, word) in words(code) {
            if let Some(target) = branch_target(address, word) {
                found(address, target);
            }
        }
    }

    fn interface_calls(&self, body: Code<'_>) -> Vec<u64> {
        const NEAR: usize = 8;
        const STACK: u32 = 31;
        let words: Vec<_> = words(body).collect();
        let calls =
            words.iter().enumerate().filter(|(_, (_, word))| word & 0xffff_fc1f == 0xd63f_0000);
        let through = |(at, &(address, call)): (usize, &(u64, u32))| {
            let register = call >> 5 & 0x1f;
            let mut before = words[at.saturating_sub(NEAR)..at].iter().rev();
            let (_, load) = before.find(|(_, word)| may_write(*word, register))?;
            let is_method = load & 0xffff_fc00 == 0xf940_1000 && load >> 5 & 0x1f != STACK;
            is_method.then_some(address)
        };
        calls.filter_map(through).collect()
    }

    fn may_refer_to(&self, code: Code<'_>, addresses: &HashSet<u64>, found: &mut dyn FnMut(u64)) {
        const SOON: usize = 4;
        let words: Vec<_> = words(code).collect();
        for (index, &(address, word)) in words.iter().enumerate() {
            let Some(page) = page_of_adrp(address, word) else { continue };
            for (_, next) in words[index + 1..].iter().take(SOON) {
                let is_add = next & 0xffc0_0000 == 0x9100_0000 && next >> 5 & 0x1f == word & 0x1f;
                let made = page.wrapping_add(u64::from(next >> 10 & 0xfff));
                if is_add && addresses.contains(&made) {
                    found(address);
                }
            }
        }
    }

    fn is_emulated(&self, code: Code<'_>) -> bool {
        words(code).next().is_some_and(|(address, word)| {
            branch_target(address, word).is_some()
                || word & 0xff00_0010 == 0x5400_0000
                || word & 0x7c00_0000 == 0x3400_0000
                || word & 0xffff_f01f == 0xd503_201f
        })
    }

    fn entry(&self, code: Code<'_>) -> u64 {
        code.address
    }

    fn after_call(&self, body: Code<'_>, call: u64) -> Option<u64> {
        let point = call + 4;
        let joined = words(body).any(|(address, word)| {
            let is_call = word & 0xfc00_0000 == 0x9400_0000;
            let conditional = (word & 0xff00_0010 == 0x5400_0000
                || word & 0x7e00_0000 == 0x3400_0000)
                .then(|| address.wrapping_add_signed(signed(word >> 5 & 0x7_ffff, 19) * 4));
            let target = conditional.or_else(|| branch_target(address, word).filter(|_| !is_call));
            target == Some(point)
        });
        (!joined).then_some(point)
    }

    fn member_returned(&self, body: Code<'_>) -> Option<u64> {
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

    fn member_set(&self, body: Code<'_>) -> Option<u64> {
        words(body).take(4).find_map(|(_, word)| {
            let pair = u64::from(word >> 15 & 0x7f) * 8;
            match (word & 0xffc0_03ff, word & 0xffc0_7fff) {
                (0xf900_0001, _) => Some(u64::from(word >> 10 & 0xfff) * 8),
                (_, 0xa900_0801) => Some(pair),
                _ => None,
            }
        })
    }

    fn third_argument_is_constant(&self, body: Code<'_>, call: u64) -> bool {
        const NEAR: u64 = 12 * 4;
        let near = body.slice(call.saturating_sub(NEAR).max(body.address), call);
        words(near).any(|(_, word)| word & 0xffe0_001f == 0x5280_0002)
    }

    fn may_call(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64)) {
        self.calls(code, found);
    }

    /// `mov w2, #constant`, and the first `bl` after it.
    fn may_call_with(
        &self,
        code: Code<'_>,
        fresh: usize,
        constants: &[u16],
        found: &mut dyn FnMut(usize, u64),
    ) {
        let settings = constants.iter().map(|constant| 0x5280_0002 | u32::from(*constant) << 5);
        let settings: Vec<u32> = settings.collect();
        for (at, word) in words(code.slice(code.address, code.address + fresh as u64)) {
            let Some(index) = settings.iter().position(|setting| *setting == word) else {
                continue;
            };
            let after = at + 4;
            let mut first = None;
            let near = code.slice(after, (after + NEAR as u64).min(code.end()));
            self.may_call(near, &mut |at, target| {
                first = first.or_else(|| is_call(near, at).then_some(target));
            });
            if let Some(target) = first {
                found(index, target);
            }
        }
    }

    fn walk(
        &self,
        body: Code<'_>,
        targets: &[u64],
        arguments: [Argument; 2],
        _walk: Walk,
    ) -> Option<Vec<Site>> {
        let numbers = arguments.map(|argument| match argument {
            Argument::GoSecond | Argument::Second => 1,
            Argument::Third => 2,
        });
        let mut sites = Vec::new();
        self.may_call(body, &mut |at, target| {
            if targets.contains(&target) && is_call(body, at) {
                let before = body.slice(at.saturating_sub(4 * BEFORE as u64).max(body.address), at);
                let arguments = numbers.map(|number| constant(before, number));
                sites.push(Site { at, target, arguments });
            }
        });
        Some(sites)
    }

    fn refers_to(&self, body: Code<'_>, addresses: &HashSet<u64>) -> bool {
        let mut refers = false;
        self.may_refer_to(body, addresses, &mut |_| refers = true);
        refers
    }

    fn after_go_call(&self, body: Code<'_>, call: u64) -> Option<u64> {
        self.after_call(body, call)
    }
}

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

/// Page address of `adrp xN, page` (imm21 pages, split in immlo and immhi).
fn page_of_adrp(address: u64, word: u32) -> Option<u64> {
    let is_adrp = word & 0x9f00_0000 == 0x9000_0000;
    let pages = signed((word >> 5 & 0x7_ffff) << 2 | (word >> 29 & 3), 21);
    is_adrp.then(|| (address & !0xfff).wrapping_add_signed(pages * 4096))
}

fn page_of_adrp_x16(address: u64, word: u32) -> Option<u64> {
    page_of_adrp(address, word).filter(|_| word & 0x1f == 16)
}

/// Offset of `ldr x17, [x16, #offset]` (imm12 times eight).
fn offset_of_ldr_x17(word: u32) -> Option<u64> {
    let is_ldr = word & 0xffc0_03ff == 0xf940_0211;
    is_ldr.then_some(u64::from(word >> 10 & 0xfff) * 8)
}

/// Whether the instruction at `at` is `bl`.
fn is_call(body: Code<'_>, at: u64) -> bool {
    words(body.slice(at, at + 4)).any(|(_, word)| word & 0xfc00_0000 == 0x9400_0000)
}

/// The constant that register `number` was last set to in `code`, as compilers set small ones:
/// `movz`, or a copy of the zero register. Nothing before a branch counts.
fn constant(code: Code<'_>, number: u32) -> Option<u64> {
    let words: Vec<_> = words(code).collect();
    for (address, word) in words.into_iter().rev() {
        if branch_target(address, word).is_some() || word & 0xfe00_0000 == 0xd600_0000 {
            return None;
        }
        // movz w|x, #imm16
        if word & 0x7fe0_001f == 0x5280_0000 | number {
            return Some(u64::from(word >> 5 & 0xffff));
        }
        // mov w|x, wzr|xzr
        if word & 0x7fff_ffff == 0x2a1f_03e0 | number {
            return Some(0);
        }
        if may_write(word, number) {
            return None;
        }
    }
    None
}

/// Whether an instruction may write register `number`: all that name it where results go, but
/// stores (Arm ARM C4.1.94), and loads of pairs.
const fn may_write(word: u32, number: u32) -> bool {
    let is_memory = word & 0x0a00_0000 == 0x0800_0000;
    let is_store = is_memory && word & 0x00c0_0000 == 0;
    let is_pair = word & 0x3a00_0000 == 0x2800_0000;
    !is_store && (word & 0x1f == number || is_pair && word >> 10 & 0x1f == number)
}
