//! What libssl and the application learn about the peer's certificate, and errors.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use hopsight_abi::{ERR_LIB_SSL, Library, Observation};

use super::{CLIENT, connection, emit, enter, registers};

/// The client connection whose verification result a thread last asked for; 0: a server's.
#[map]
static ASKED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// libssl has called `X509_STORE_CTX_get_error(context)`.
#[uprobe]
pub fn verify_result(ctx: ProbeContext) -> u32 {
    inside(&ctx, Observation::VerifyResult, signed(registers::returned(&ctx)));
    0
}

/// libssl calls `ERR_vset_error(library, reason, ...)`.
#[uprobe]
pub fn error_raised(ctx: ProbeContext) -> u32 {
    error(&ctx, 1);
    0
}

/// libssl calls `ERR_put_error(library, function, reason, ...)`.
#[uprobe]
pub fn error_put(ctx: ProbeContext) -> u32 {
    error(&ctx, 2);
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
fn error(ctx: &ProbeContext, reason_at: usize) -> Option<()> {
    let library: u32 = ctx.arg(0)?;
    let reason: u32 = ctx.arg(reason_at)?;
    if library == ERR_LIB_SSL {
        inside(ctx, Observation::Error, reason.into())?;
    }
    Some(())
}

#[inline(always)]
fn asked(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let ssl = ctx.arg(0)?;
    let ssl = if connection::role(tgid, ssl) == Some(CLIENT) { ssl } else { 0 };
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
