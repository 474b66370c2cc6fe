//! Direct calls inside a function, and what their arguments are where those are constants.
//!
//! A place is only found by walking from the function's first instruction: it lies on a boundary
//! of instructions, as a probe must.

use std::collections::VecDeque;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::{Isa, aarch64, image::Code, x86_64};

/// Instructions before a call in which its arguments are looked for.
const BEFORE: usize = 24;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// The second one by Go's convention (`ABIInternal`): RBX, X1.
    GoSecond,
    /// The second one by that of C: RSI (System V AMD64 ABI section 3.2.3), X1 (AAPCS64).
    Second,
    /// The third one by that of C: RDX, X2.
    Third,
}

/// A direct call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of the call.
    pub at: u64,
    /// What it calls.
    pub target: u64,
    /// The arguments asked for, where they are constants set right before.
    pub arguments: [Option<u64>; 2],
}

/// How far a function must be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// To its very end: what cannot be decoded anywhere spoils all.
    Whole,
    /// To each call that is found: functions may be followed by something else than functions.
    UpToTheCall,
}

/// The direct calls of the `targets` in `body`, in order, with two arguments each. `None` where
/// the function cannot be walked.
#[must_use]
pub fn of_function(
    isa: Isa,
    body: Code<'_>,
    targets: &[u64],
    arguments: [Argument; 2],
    walk: Walk,
) -> Option<Vec<Site>> {
    if !mentions(isa, body, targets) {
        return Some(Vec::new());
    }
    match isa {
        Isa::X86_64 => x86_64_sites(body, targets, arguments, walk),
        Isa::Aarch64 => Some(aarch64_sites(body, targets, arguments)),
    }
}

/// Whether there may be a direct call of a target: quicker to see than to walk there.
#[must_use]
pub fn mentions(isa: Isa, body: Code<'_>, targets: &[u64]) -> bool {
    let mut found = false;
    raw_calls(isa, body, |_, target| found |= targets.contains(&target));
    found
}

/// Everything in `code` that would be a direct call if an instruction began there.
pub fn raw_calls(isa: Isa, code: Code<'_>, mut found: impl FnMut(u64, u64)) {
    const CALL: u8 = 0xe8;
    const LEN: u64 = 5;
    if isa == Isa::Aarch64 {
        return aarch64::calls(code, found);
    }
    for at in memchr::memchr_iter(CALL, code.bytes) {
        let Some(distance) = code.bytes.get(at + 1..at + 5).and_then(|d| d.try_into().ok()) else {
            return;
        };
        let address = code.address.wrapping_add(at as u64);
        let next = address.wrapping_add(LEN);
        found(address, next.wrapping_add_signed(i32::from_le_bytes(distance).into()));
    }
}

fn x86_64_sites(
    body: Code<'_>,
    targets: &[u64],
    arguments: [Argument; 2],
    walk: Walk,
) -> Option<Vec<Site>> {
    let registers = arguments.map(|argument| match argument {
        Argument::GoSecond => Register::RBX,
        Argument::Second => Register::RSI,
        Argument::Third => Register::RDX,
    });
    let mut decoder = Decoder::with_ip(64, body.bytes, body.address, DecoderOptions::NONE);
    let mut before: VecDeque<Instruction> = VecDeque::with_capacity(BEFORE + 1);
    let mut sites = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return match walk {
                Walk::Whole => None,
                Walk::UpToTheCall => Some(sites),
            };
        }
        let is_call = instruction.mnemonic() == Mnemonic::Call
            && instruction.op0_kind() == OpKind::NearBranch64;
        if is_call && targets.contains(&instruction.near_branch_target()) {
            sites.push(Site {
                at: instruction.ip(),
                target: instruction.near_branch_target(),
                arguments: registers.map(|register| constant(&before, register)),
            });
        }
        if before.len() == BEFORE {
            before.pop_front();
        }
        before.push_back(instruction);
    }
    Some(sites)
}

/// The constant that the last writer of `register` put there.
fn constant(before: &VecDeque<Instruction>, register: Register) -> Option<u64> {
    let writer = before.iter().rev().find(|instruction| {
        instruction.mnemonic() == Mnemonic::Call || x86_64::writes(instruction, register)
    })?;
    let is_ours =
        writer.op0_kind() == OpKind::Register && writer.op0_register().full_register() == register;
    match writer.mnemonic() {
        Mnemonic::Mov if is_ours => writer.try_immediate(1).ok(),
        Mnemonic::Xor if is_ours && writer.op1_kind() == OpKind::Register => {
            (writer.op1_register() == writer.op0_register()).then_some(0)
        }
        _ => None,
    }
}

fn aarch64_sites(body: Code<'_>, targets: &[u64], arguments: [Argument; 2]) -> Vec<Site> {
    let numbers = arguments.map(|argument| match argument {
        Argument::GoSecond | Argument::Second => 1,
        Argument::Third => 2,
    });
    let mut sites = Vec::new();
    aarch64::calls(body, |at, target| {
        if targets.contains(&target) && aarch64::is_call(body, at) {
            let before = body.slice(at.saturating_sub(4 * BEFORE as u64).max(body.address), at);
            let arguments = numbers.map(|number| aarch64::constant(before, number));
            sites.push(Site { at, target, arguments });
        }
    });
    sites
}
