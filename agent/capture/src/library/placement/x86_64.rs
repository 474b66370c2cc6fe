//! Reading x86-64 code: linkage table stubs, calls and cheap probe points.
//!
//! A uprobe replaces one instruction. The kernel emulates some (`call`, `jmp`, conditional jumps,
//! `push`, `nop`; `arch/x86/kernel/uprobes.c`) and executes the others out of line in single-step
//! mode, which costs a second exception: about ten times as much on a virtual machine. Probe
//! points are therefore moved to the next emulated instruction where that observes the same.

use std::collections::{HashSet, VecDeque};

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

use super::{
    image::Code,
    instruction_set::{Argument, BEFORE, InstructionSet, NEAR, Site, Walk},
};

/// Looks no further than this for an emulated instruction.
const SEARCH_LIMIT: usize = 12;

/// AMD64, Intel 64.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl InstructionSet for X86_64 {
    fn stubs(&self, code: Code<'_>) -> Vec<(u64, u64)> {
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

    fn calls(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64)) {
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

    fn interface_calls(&self, body: Code<'_>) -> Vec<u64> {
        const SECOND_METHOD: u64 = 0x20;
        const NEAR: usize = 8;
        let instructions: Vec<_> = decode(body).collect();
        let through = |(at, call): (usize, &Instruction)| {
            let register = call.op0_register();
            let mut before = instructions[at.saturating_sub(NEAR)..at].iter().rev();
            let load = before.find(|instruction| writes(instruction, register.full_register()))?;
            let is_method = load.mnemonic() == Mnemonic::Mov
                && load.op1_kind() == OpKind::Memory
                && load.memory_base() != Register::RSP
                && load.memory_base() != Register::RIP
                && load.memory_displacement64() == SECOND_METHOD;
            is_method.then(|| call.ip())
        };
        let calls = instructions.iter().enumerate().filter(|(_, call)| {
            call.mnemonic() == Mnemonic::Call && call.op0_kind() == OpKind::Register
        });
        calls.filter_map(through).collect()
    }

    fn may_refer_to(&self, code: Code<'_>, addresses: &HashSet<u64>, found: &mut dyn FnMut(u64)) {
        const LEA: u8 = 0x8d;
        for at in memchr::memchr_iter(LEA, code.bytes) {
            let Some([form, distance @ ..]) = code.bytes.get(at + 1..at + 6) else { break };
            let is_relative = form & 0xc7 == 0x05;
            let distance = i32::from_le_bytes([distance[0], distance[1], distance[2], distance[3]]);
            let address = code.address.wrapping_add(at as u64);
            let next = address.wrapping_add(6);
            if is_relative && addresses.contains(&next.wrapping_add_signed(distance.into())) {
                found(address);
            }
        }
        for constant in addresses.iter().filter_map(|address| u32::try_from(*address).ok()) {
            for at in memchr::memmem::find_iter(code.bytes, &constant.to_le_bytes()) {
                found(code.address.wrapping_add(at as u64));
            }
        }
    }

    fn is_emulated(&self, code: Code<'_>) -> bool {
        decode(code).next().is_some_and(|instruction| emulated(&instruction))
    }

    fn entry(&self, code: Code<'_>) -> u64 {
        const ARGUMENTS: [Register; 3] = [Register::RDI, Register::RSI, Register::RDX];
        forward(code, &ARGUMENTS).unwrap_or(code.address)
    }

    fn after_call(&self, body: Code<'_>, call: u64) -> Option<u64> {
        after_call_with(body, call, Register::RAX)
    }

    fn member_returned(&self, body: Code<'_>) -> Option<u64> {
        let instructions: Vec<_> = decode(body).collect();
        let mut offsets: Vec<u64> = instructions
            .iter()
            .enumerate()
            .filter(|(_, load)| {
                load.mnemonic() == Mnemonic::Mov && load.op1_kind() == OpKind::Memory
            })
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

    fn member_set(&self, body: Code<'_>) -> Option<u64> {
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

    fn third_argument_is_constant(&self, body: Code<'_>, call: u64) -> bool {
        let before: Vec<_> = decode(body.slice(body.address, call)).collect();
        let mut nearest = before.iter().rev().take(SEARCH_LIMIT);
        let writer = nearest.find(|instruction| writes(instruction, Register::RDX));
        writer.is_some_and(|instruction| instruction.op1_kind() == OpKind::Immediate32)
    }

    fn may_call(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64)) {
        const CALL: u8 = 0xe8;
        const LEN: u64 = 5;
        for at in memchr::memchr_iter(CALL, code.bytes) {
            let distance = code.bytes.get(at + 1..at + 5).and_then(|bytes| bytes.try_into().ok());
            let Some(distance) = distance else { return };
            let address = code.address.wrapping_add(at as u64);
            let next = address.wrapping_add(LEN);
            found(address, next.wrapping_add_signed(i32::from_le_bytes(distance).into()));
        }
    }

    /// `mov edx, constant`, and the first call after it.
    fn may_call_with(
        &self,
        code: Code<'_>,
        fresh: usize,
        constants: &[u16],
        found: &mut dyn FnMut(usize, u64),
    ) {
        const MOV_EDX: u8 = 0xba;
        for (index, constant) in constants.iter().enumerate() {
            let [low, high] = constant.to_le_bytes();
            let setting = [MOV_EDX, low, high, 0, 0];
            let places = memchr::memmem::find_iter(code.bytes, &setting);
            for at in places.take_while(|at| *at < fresh) {
                let after = code.address + (at + setting.len()) as u64;
                let mut first = None;
                let near = code.slice(after, (after + NEAR as u64).min(code.end()));
                self.may_call(near, &mut |_, target| first = first.or(Some(target)));
                if let Some(target) = first {
                    found(index, target);
                }
            }
        }
    }

    fn walk(
        &self,
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
        let mut before: VecDeque<Instruction> = VecDeque::with_capacity(BEFORE + 1);
        let mut sites = Vec::new();
        for instruction in decode(body) {
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

    fn refers_to(&self, body: Code<'_>, addresses: &HashSet<u64>) -> bool {
        let instructions = decode(body).take_while(|instruction| !instruction.is_invalid());
        instructions.filter_map(|made| address_made(&made)).any(|made| addresses.contains(&made))
    }

    fn after_go_call(&self, body: Code<'_>, call: u64) -> Option<u64> {
        after_call_with(body, call, Register::RDI)
    }
}

/// The instructions of `code`, from its first byte on.
pub fn decode(code: Code<'_>) -> impl Iterator<Item = Instruction> + '_ {
    let mut decoder = Decoder::with_ip(64, code.bytes, code.address, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}

/// The address that an instruction makes without reading memory: by `lea` relative to the
/// instruction pointer, or as a constant of 32 bits.
fn address_made(instruction: &Instruction) -> Option<u64> {
    match instruction.mnemonic() {
        Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
            Some(instruction.ip_rel_memory_address())
        }
        Mnemonic::Mov if instruction.op1_kind() == OpKind::Immediate32 => {
            Some(instruction.immediate32().into())
        }
        _ => None,
    }
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

/// A point as [`InstructionSet::after_call`] gives it, for a value returned in `register`.
fn after_call_with(body: Code<'_>, call: u64, register: Register) -> Option<u64> {
    let end = body.address + body.bytes.len() as u64;
    let returned = decode(body.slice(call, end)).next()?.next_ip();
    let point = forward(body.slice(returned, end), &[register]).unwrap_or(returned);
    let joined: HashSet<u64> = decode(body)
        .filter(|instruction| instruction.op0_kind() == OpKind::NearBranch64)
        .filter(|instruction| instruction.mnemonic() != Mnemonic::Call)
        .map(|instruction| instruction.near_branch_target())
        .collect();
    (!(returned..=point).any(|address| joined.contains(&address))).then_some(point)
}

/// A point as [`InstructionSet::after_call`] gives it, also where the point is reached by jumps, if all of them come right from
/// calls through a pointer: the program takes either call's answer for the same thing.
pub fn after_call_or_another(body: Code<'_>, call: u64) -> Option<u64> {
    if let Some(point) = after_call_with(body, call, Register::RAX) {
        return Some(point);
    }
    let instructions: Vec<Instruction> = decode(body).collect();
    let at = instructions.iter().position(|instruction| instruction.ip() == call)?;
    let returned = instructions[at].next_ip();
    let jumps = instructions.iter().enumerate().filter(|(_, jump)| {
        jump.op0_kind() == OpKind::NearBranch64
            && jump.mnemonic() != Mnemonic::Call
            && jump.near_branch_target() == returned
    });
    let mut from_calls = jumps.map(|(at, jump)| {
        let before = at.checked_sub(1).map(|before| instructions[before].flow_control());
        jump.mnemonic() == Mnemonic::Jmp && before == Some(FlowControl::IndirectCall)
    });
    from_calls.all(|from_call| from_call).then_some(returned)
}

/// Walks straight-line code to the first emulated instruction while `keep` are unchanged.
fn forward(code: Code<'_>, keep: &[Register]) -> Option<u64> {
    for instruction in decode(code).take(SEARCH_LIMIT) {
        if emulated(&instruction) {
            return Some(instruction.ip());
        }
        // Sign extension keeps the low half, which is all a 32-bit result has.
        let keeps = instruction.mnemonic() == Mnemonic::Cdqe
            || !keep.iter().any(|register| writes(&instruction, *register));
        if !keeps || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
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

/// Whether the instruction changes any part of `register`.
fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers().to_vec();
    used.iter().any(|used| {
        used.register().full_register() == register
            && !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead)
    })
}

/// The constant that the last writer of `register` put there.
fn constant(before: &VecDeque<Instruction>, register: Register) -> Option<u64> {
    let writer = before.iter().rev().find(|instruction| {
        instruction.mnemonic() == Mnemonic::Call || writes(instruction, register)
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
