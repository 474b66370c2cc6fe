//! What the probed thread's registers hold, read from the context itself: that takes no helper, and
//! no right to read the kernel's memory, as aya's `ProbeContext::arg` does.

use aya_ebpf::programs::ProbeContext;

/// Returned value of the call before the probed instruction.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn returned(ctx: &ProbeContext) -> u64 {
    // SAFETY: a field of the context, read as the verifier wants it.
    unsafe { (&raw const (*ctx.regs).rax).read_volatile() }
}

/// The first three integer arguments of the function or call that is probed: System V AMD64 ABI
/// section 3.2.3.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn arguments(ctx: &ProbeContext) -> [u64; 3] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).rdi).read_volatile(),
            (&raw const (*ctx.regs).rsi).read_volatile(),
            (&raw const (*ctx.regs).rdx).read_volatile(),
        ]
    }
}

/// Registers that a callee must preserve, where a function keeps what it needs after a call:
/// System V AMD64 ABI section 3.2.1.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn preserved(ctx: &ProbeContext) -> [u64; 6] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).rbx).read_volatile(),
            (&raw const (*ctx.regs).rbp).read_volatile(),
            (&raw const (*ctx.regs).r12).read_volatile(),
            (&raw const (*ctx.regs).r13).read_volatile(),
            (&raw const (*ctx.regs).r14).read_volatile(),
            (&raw const (*ctx.regs).r15).read_volatile(),
        ]
    }
}

/// The first five integer arguments of the call that is probed: System V AMD64 ABI section 3.2.3.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn five_arguments(ctx: &ProbeContext) -> [u64; 5] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).rdi).read_volatile(),
            (&raw const (*ctx.regs).rsi).read_volatile(),
            (&raw const (*ctx.regs).rdx).read_volatile(),
            (&raw const (*ctx.regs).rcx).read_volatile(),
            (&raw const (*ctx.regs).r8).read_volatile(),
        ]
    }
}

/// The first four integer arguments of a call by Go's convention (`ABIInternal`,
/// cmd/compile/abi-internal.md).
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn go_arguments(ctx: &ProbeContext) -> [u64; 4] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).rax).read_volatile(),
            (&raw const (*ctx.regs).rbx).read_volatile(),
            (&raw const (*ctx.regs).rcx).read_volatile(),
            (&raw const (*ctx.regs).rdi).read_volatile(),
        ]
    }
}

/// The type word of an error that a Go function returned after a slice: the fourth result.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn go_error(ctx: &ProbeContext) -> u64 {
    go_arguments(ctx)[3]
}

/// Address of the goroutine, which Go code keeps in a register.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn goroutine(ctx: &ProbeContext) -> u64 {
    // SAFETY: a field of the context, read as the verifier wants it.
    unsafe { (&raw const (*ctx.regs).r14).read_volatile() }
}

/// Returned value of the call before the probed instruction.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn returned(ctx: &ProbeContext) -> u64 {
    // SAFETY: a field of the context, read as the verifier wants it.
    unsafe { (&raw const (*ctx.regs).regs[0]).read_volatile() }
}

/// The first three integer arguments of the function or call that is probed: AAPCS64 section 6.8.2.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn arguments(ctx: &ProbeContext) -> [u64; 3] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).regs[0]).read_volatile(),
            (&raw const (*ctx.regs).regs[1]).read_volatile(),
            (&raw const (*ctx.regs).regs[2]).read_volatile(),
        ]
    }
}

/// Registers that a callee must preserve, where a function keeps what it needs after a call:
/// x19 to x28, AAPCS64 section 6.1.1. Compilers take them in this order.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn preserved(ctx: &ProbeContext) -> [u64; 6] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).regs[19]).read_volatile(),
            (&raw const (*ctx.regs).regs[20]).read_volatile(),
            (&raw const (*ctx.regs).regs[21]).read_volatile(),
            (&raw const (*ctx.regs).regs[22]).read_volatile(),
            (&raw const (*ctx.regs).regs[23]).read_volatile(),
            (&raw const (*ctx.regs).regs[24]).read_volatile(),
        ]
    }
}

/// The first five integer arguments of the call that is probed: AAPCS64 section 6.8.2.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn five_arguments(ctx: &ProbeContext) -> [u64; 5] {
    // SAFETY: fields of the context, each read as the verifier wants it.
    unsafe {
        [
            (&raw const (*ctx.regs).regs[0]).read_volatile(),
            (&raw const (*ctx.regs).regs[1]).read_volatile(),
            (&raw const (*ctx.regs).regs[2]).read_volatile(),
            (&raw const (*ctx.regs).regs[3]).read_volatile(),
            (&raw const (*ctx.regs).regs[4]).read_volatile(),
        ]
    }
}

/// The first four integer arguments of a call by Go's convention (`ABIInternal`,
/// cmd/compile/abi-internal.md).
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn go_arguments(ctx: &ProbeContext) -> [u64; 4] {
    let [first, second, third, fourth, _] = five_arguments(ctx);
    [first, second, third, fourth]
}

/// The type word of an error that a Go function returned after a slice: the fourth result.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn go_error(ctx: &ProbeContext) -> u64 {
    go_arguments(ctx)[3]
}

/// Address of the goroutine, which Go code keeps in a register.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn goroutine(ctx: &ProbeContext) -> u64 {
    // SAFETY: a field of the context, read as the verifier wants it.
    unsafe { (&raw const (*ctx.regs).regs[28]).read_volatile() }
}
