//! One program for all probes of a file.
//!
//! One link holds them all and has one program (Linux 6.6); its cookies tell the places apart.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_get_attach_cookie,
    macros::{map, uprobe},
    maps::ProgramArray,
    programs::ProbeContext,
};
use hopsight_abi::{Cookie, MAX_HOOKS};

/// The programs of all hooks, set by the loader.
#[map]
static HOOKS: ProgramArray = ProgramArray::with_max_entries(MAX_HOOKS, 0);

/// A place is hit: goes on as the program of its hook.
#[uprobe]
pub fn hit(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a probe that was attached with a cookie.
    let cookie = Cookie::from_bits(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    // SAFETY: nothing here is left to be dropped. Where the entry is empty, nothing is shown.
    unsafe { HOOKS.tail_call(&ctx, u32::from(cookie.entry())) };
    0
}
