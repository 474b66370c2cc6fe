//! Reading x86-64 code: linkage table stubs, calls and cheap probe points.
//!
//! A uprobe replaces one instruction. The kernel emulates some (`call`, `jmp`, conditional jumps,
//! `push`, `nop`; `arch/x86/kernel/uprobes.c`) and executes the others out of line in single-step
//! mode, which costs a second exception: about ten times as much on a virtual machine. Probe
//! points are therefore moved to the next emulated instruction where that observes the same.

use std::collections::HashSet;

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

use super::image::Code;

/// Looks no further than this for an emulated instruction.
const SEARCH_LIMIT: usize = 12;

fn decode(code: Code<'_>) -> impl Iterator<Item = Instruction> + '_ {
    let mut decoder = Decoder::with_ip(64, code.bytes, code.address, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}

/// Addresses that a call of an imported function may name, with the table slot behind each.
pub fn stubs(code: Code<'_>) -> Vec<(u64, u64)> {
    let mut stubs = Vec::new();
    let mut landing_pad = None;
    for instruction in decode(code) {
        if instruction.mnemonic() == Mnemonic::Jmp && instruction.is_ip_rel_memory_operand() {
            let slot = instruction.ip_rel_memory_address();
            stubs.push((instruction.ip(), slot));
            // With CET the stub starts with `endbr64`.
            stubs.extend(landing_pad.map(|start| (start, slot)));
        }
        landing_pad = (instruction.mnemonic() == Mnemonic::Endbr64).then_some(instruction.ip());
    }
    stubs
}

/// Calls and tail calls in `code` as (address, target or slot address).
pub fn calls(code: Code<'_>, mut found: impl FnMut(u64, u64)) {
    for instruction in decode(code) {
        if !matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Jmp) {
            continue;
        }
        if instruction.op0_kind() == OpKind::NearBranch64 {
            found(instruction.ip(), instruction.near_branch_target());
        } else if instruction.is_ip_rel_memory_operand() {
            found(instruction.ip(), instruction.ip_rel_memory_address());
        }
    }
}

/// Whether the kernel emulates the instruction at the start of `code`.
pub fn is_emulated(code: Code<'_>) -> bool {
    decode(code).next().is_some_and(|instruction| emulated(&instruction))
}

fn emulated(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Opcode::Call_rel32_64
            | Opcode::Jmp_rel8_64
            | Opcode::Jmp_rel32_64
            | Opcode::Nopd
            | Opcode::Push_r64
    ) || instruction.is_jcc_short_or_near()
}

/// The first probe point at or after the start of a function where its first argument (`rdi`) is
/// still what the caller passed; the start itself where no cheaper one follows.
pub fn entry(code: Code<'_>) -> u64 {
    forward(code, Register::RDI).unwrap_or(code.address)
}

/// The cheapest probe point after the call at `call` in the function `body` where `eax` holds the
/// returned value. `None` where a jump from elsewhere could reach that point with another value.
pub fn after_call(body: Code<'_>, call: u64) -> Option<u64> {
    let end = body.address + body.bytes.len() as u64;
    let returned = decode(body.slice(call, end)).next()?.next_ip();
    let point = forward(body.slice(returned, end), Register::RAX).unwrap_or(returned);
    let joined: HashSet<u64> = decode(body)
        .filter(|instruction| instruction.op0_kind() == OpKind::NearBranch64)
        .filter(|instruction| instruction.mnemonic() != Mnemonic::Call)
        .map(|instruction| instruction.near_branch_target())
        .collect();
    (!(returned..=point).any(|address| joined.contains(&address))).then_some(point)
}

/// Walks straight-line code to the first emulated instruction while `keep` is unchanged.
fn forward(code: Code<'_>, keep: Register) -> Option<u64> {
    for instruction in decode(code).take(SEARCH_LIMIT) {
        if emulated(&instruction) {
            return Some(instruction.ip());
        }
        // Sign extension keeps the low half, which is all a 32-bit result has.
        let keeps = instruction.mnemonic() == Mnemonic::Cdqe || !writes(&instruction, keep);
        if !keeps || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

/// Offset of the member that a getter of the form `return object->member` reads: of the one load
/// into `rax` that is returned. `None` where there are several, or none.
pub fn member_returned(body: Code<'_>) -> Option<u64> {
    let instructions: Vec<_> = decode(body).collect();
    let mut offsets: Vec<u64> = instructions
        .iter()
        .enumerate()
        .filter(|(_, load)| load.mnemonic() == Mnemonic::Mov && load.op1_kind() == OpKind::Memory)
        .filter(|(_, load)| {
            load.op0_register().full_register() == Register::RAX
                && load.memory_index() == Register::None
                && load.memory_base() != Register::RIP
        })
        .filter(|(at, _)| returns_with(&instructions[at + 1..], Register::RAX))
        .map(|(_, load)| load.memory_displacement64())
        .collect();
    offsets.dedup();
    <[u64; 1]>::try_from(offsets).ok().map(|[offset]| offset)
}

/// Whether these instructions lead straight to a return with `keep` unchanged.
fn returns_with(instructions: &[Instruction], keep: Register) -> bool {
    for instruction in instructions.iter().take(SEARCH_LIMIT) {
        match instruction.flow_control() {
            FlowControl::Return => return true,
            FlowControl::Next if !writes(instruction, keep) => {}
            _ => return false,
        }
    }
    false
}

/// Offset at which a setter of the form `object->member = value` stores its second argument.
pub fn member_set(body: Code<'_>) -> Option<u64> {
    let mut straight = decode(body)
        .take(SEARCH_LIMIT)
        .take_while(|instruction| instruction.flow_control() == FlowControl::Next);
    let store = straight.find(|instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Memory
            && instruction.memory_base() == Register::RDI
            && instruction.memory_index() == Register::None
            && instruction.op1_kind() == OpKind::Register
            && instruction.op1_register() == Register::RSI
    })?;
    Some(store.memory_displacement64())
}

fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers().to_vec();
    used.iter().any(|used| {
        used.register().full_register() == register
            && !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead)
    })
}

/// Whether the third argument (`edx`) of the call at `call` is set from a constant right before.
pub fn third_argument_is_constant(body: Code<'_>, call: u64) -> bool {
    let before: Vec<_> = decode(body.slice(body.address, call)).collect();
    let mut nearest = before.iter().rev().take(SEARCH_LIMIT);
    let writer = nearest.find(|instruction| writes(instruction, Register::RDX));
    writer.is_some_and(|instruction| instruction.op1_kind() == OpKind::Immediate32)
}
