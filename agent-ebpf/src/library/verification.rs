//! What libssl and the application learn about the peer's certificate, and errors.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_get_attach_cookie},
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use hopsight_abi::{Cookie, ERR_LIB_SSL, Library, Observation, Part, VerifyOffsets};

use super::{CLIENT, connection, emit, enter, misfire, registers};

/// The client connection whose verification result a thread last asked for; 0: a server's.
#[map]
static ASKED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// libssl has called `X509_STORE_CTX_get_error(context)`.
#[uprobe]
pub fn verify_result(ctx: ProbeContext) -> u32 {
    inside(&ctx, Observation::VerifyResult, signed(registers::returned(&ctx)));
    0
}

/// As [`verify_result`], with a look at whether libssl would have ended the handshake over a bad
/// result. Needs probes with a cookie, [`VerifyOffsets`]: Linux 5.15.
#[uprobe]
pub fn verify_enforced(ctx: ProbeContext) -> u32 {
    verified(&ctx);
    0
}

/// libssl calls `ERR_vset_error(library, reason, ...)`.
#[uprobe]
pub fn error_raised(ctx: ProbeContext) -> u32 {
    let [library, reason, _] = registers::arguments(&ctx);
    error(&ctx, library, reason);
    0
}

/// libssl calls `ERR_put_error(library, function, reason, ...)`.
#[uprobe]
pub fn error_put(ctx: ProbeContext) -> u32 {
    let [library, _, reason] = registers::arguments(&ctx);
    error(&ctx, library, reason);
    0
}

/// The application calls `SSL_get_verify_result(connection)`.
#[uprobe]
pub fn result_asked(ctx: ProbeContext) -> u32 {
    asked(&ctx);
    0
}

/// The application has called `SSL_get_verify_result`.
#[uprobe]
pub fn result_got(ctx: ProbeContext) -> u32 {
    answered(Observation::ResultAsked, registers::returned(&ctx));
    0
}

/// The application has called `X509_check_host`.
#[uprobe]
pub fn host_checked(ctx: ProbeContext) -> u32 {
    answered(Observation::HostChecked, signed(registers::returned(&ctx)));
    0
}

/// Widens a C `int` in a register, whose upper half is undefined.
#[inline(always)]
fn signed(register: u64) -> u64 {
    i64::from(register as i32).cast_unsigned()
}

#[inline(always)]
fn inside(ctx: &ProbeContext, observation: Observation, value: u64) -> Option<()> {
    let tgid = enter()?;
    let ssl = connection::client(ctx, tgid)?;
    let observation = observation as u8;
    emit::record(Library { observation, tgid, ssl, value, ..Library::default() });
    Some(())
}

#[inline(always)]
fn verified(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let ssl = connection::client(ctx, tgid)?;
    // SAFETY: the context of a probe that was attached with a cookie.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let enforced = ssl != 0 && enforces(ssl, Cookie::from_bits(cookie).offsets()).unwrap_or(false);
    emit::record(Library {
        observation: Observation::VerifyResult as u8,
        enforced: enforced.into(),
        tgid,
        ssl,
        value: signed(registers::returned(ctx)),
        ..Library::default()
    });
    Some(())
}

/// Whether libssl's own answer stands between a bad certificate of the server and the connection
/// at `ssl`; `None` where its memory cannot be read.
#[inline(always)]
fn enforces(ssl: u64, offsets: VerifyOffsets) -> Option<bool> {
    const SSL_VERIFY_NONE: u32 = 0;
    // SAFETY (of all): the helper checks the address.
    let mode: u32 =
        unsafe { bpf_probe_read_user((ssl + u64::from(offsets.mode)) as *const _) }.ok()?;
    let pointer = |address: u64| unsafe { bpf_probe_read_user(address as *const u64) }.ok();
    let callback = pointer(ssl + u64::from(offsets.callback))?;
    let context = pointer(ssl + u64::from(offsets.context))?;
    let replacement = pointer(context + u64::from(offsets.replacement))?;
    Some(mode != SSL_VERIFY_NONE && callback == 0 && replacement == 0)
}

#[inline(always)]
fn error(ctx: &ProbeContext, library: u64, reason: u64) -> Option<()> {
    // C `int`s: the upper halves are undefined.
    if library as u32 == ERR_LIB_SSL {
        inside(ctx, Observation::Error, u64::from(reason as u32))?;
    }
    Some(())
}

#[inline(always)]
fn asked(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [ssl, ..] = registers::arguments(ctx);
    let ssl = if connection::role(tgid, ssl) == Some(CLIENT) {
        ssl
    } else {
        // Asked at every request of a client's: that costs, and tells nothing about upstreams.
        misfire(Part::Application, tgid);
        0
    };
    // A full LRU map evicts; the answer then goes unreported.
    let _ = ASKED.insert(bpf_get_current_pid_tgid(), ssl, 0);
    Some(())
}

#[inline(always)]
fn answered(observation: Observation, value: u64) -> Option<()> {
    let tgid = enter()?;
    // SAFETY: only this thread writes its entry.
    let ssl = unsafe { ASKED.get(bpf_get_current_pid_tgid()) }.copied()?;
    if ssl != 0 {
        let observation = observation as u8;
        emit::record(Library { observation, tgid, ssl, value, ..Library::default() });
    }
    Some(())
}
