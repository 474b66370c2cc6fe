//! What placement asks of machine code, whichever instruction set it is written in.

use std::collections::HashSet;

use super::image::Code;

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

/// Instructions before a call in which its arguments are looked for.
pub const BEFORE: usize = 24;
/// Bytes after the setting of an argument in which its call is looked for.
pub const NEAR: usize = 64;

/// What is read in the code of one instruction set.
///
/// A function's body begins at its first instruction, and what is found by walking it lies on a
/// boundary of instructions, as a probe must. Methods that say "may" look at every byte.
pub trait InstructionSet {
    /// Addresses that a call of an imported function may name, with the table slot behind each.
    fn stubs(&self, code: Code<'_>) -> Vec<(u64, u64)>;

    /// Calls and tail calls in `code` as (address, target or slot address).
    fn calls(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64));

    /// Everything in `code` that may be a direct call, or, where that looks the same, a tail call, as
    /// (address, target).
    fn may_call(&self, code: Code<'_>, found: &mut dyn FnMut(u64, u64));

    /// What may be a direct call soon after its third argument was set to one of `constants`: which
    /// one, and the target. The setting stands in the first `fresh` bytes of `code`.
    fn may_call_with(
        &self,
        code: Code<'_>,
        fresh: usize,
        constants: &[u16],
        found: &mut dyn FnMut(usize, u64),
    );

    /// The direct calls of the `targets` in `body`, in order, with two arguments each. `None` where
    /// the function cannot be walked.
    fn calls_of(
        &self,
        body: Code<'_>,
        targets: &[u64],
        arguments: [Argument; 2],
        walk: Walk,
    ) -> Option<Vec<Site>> {
        // Quicker to see than to walk there.
        let mut is_mentioned = false;
        self.may_call(body, &mut |_, target| is_mentioned |= targets.contains(&target));
        if is_mentioned { self.walk(body, targets, arguments, walk) } else { Some(Vec::new()) }
    }

    /// As [`calls_of`](Self::calls_of), for a body that may have such a call.
    fn walk(
        &self,
        body: Code<'_>,
        targets: &[u64],
        arguments: [Argument; 2],
        walk: Walk,
    ) -> Option<Vec<Site>>;

    /// Calls through a register that was loaded from the second method of an interface's table,
    /// which is its fifth word (Go's `runtime.itab`).
    fn interface_calls(&self, body: Code<'_>) -> Vec<u64>;

    /// Places in `code` where an instruction may stand that makes one of `addresses`.
    fn may_refer_to(&self, code: Code<'_>, addresses: &HashSet<u64>, found: &mut dyn FnMut(u64));

    /// Whether an instruction of `body` makes one of `addresses`.
    fn refers_to(&self, body: Code<'_>, addresses: &HashSet<u64>) -> bool;

    /// Whether the kernel emulates the instruction at the start of `code`, which makes a probe there
    /// cheap.
    fn is_emulated(&self, code: Code<'_>) -> bool;

    /// The first cheap probe point at or after the start of a function where its first three
    /// arguments are still what the caller passed; the start itself where none follows.
    fn entry(&self, code: Code<'_>) -> u64;

    /// The cheapest probe point after the call at `call` in the function `body` where the register
    /// of the result still holds it. `None` where a jump from elsewhere could reach that point with
    /// another value.
    fn after_call(&self, body: Code<'_>, call: u64) -> Option<u64>;

    /// As [`after_call`](Self::after_call), for the error that a Go function returns after a slice
    /// (`ABIInternal`: RDI, X3).
    fn after_go_call(&self, body: Code<'_>, call: u64) -> Option<u64>;

    /// Offset of the member that a getter of the form `return object->member` reads: of the one load
    /// whose value is returned. `None` where there are several, or none.
    fn member_returned(&self, body: Code<'_>) -> Option<u64>;

    /// Offset at which a setter of the form `object->member = value` stores its second argument.
    fn member_set(&self, body: Code<'_>) -> Option<u64>;

    /// Whether the third argument of the call at `call` is set from a constant right before.
    fn third_argument_is_constant(&self, body: Code<'_>, call: u64) -> bool;
}
