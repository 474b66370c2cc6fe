//! The tickets that a server gives.
//!
//! OpenSSL digests each, for the identifier of the session; in the other libraries a NewSessionTicket is
//! a message like all others. A server may send as many as it likes, and what they take of a process's
//! rate is taken from the names of other servers' sessions: each connection has a budget of its own.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{map, uprobe},
    maps::HashMap,
    programs::ProbeContext,
};
use hopsight_abi::{Library, LibraryCount, Observation, Part, Stack};

use super::{
    add, connection,
    emit::{self, What},
    enter, misfire, registers,
};

/// Longest ticket (RFC 8446 section 4.6.1).
const LONGEST: u64 = 0xffff;

/// Bytes of tickets that a connection may deliver at once: the longest one, or some dozens of the usual
/// ones.
const AT_ONCE: u32 = 72 << 10;

/// And how many more it may deliver with each second that passes.
const PER_SECOND: u32 = 4 << 10;

/// Processes of which a ticket was lost and no record could say so: the agent takes them out.
#[map]
static UNTOLD: HashMap<u32, u8> = HashMap::with_max_entries(1_024, 0);

/// libssl calls `EVP_Digest(ticket, length, ...)`.
#[uprobe]
pub fn ticket(ctx: ProbeContext) -> u32 {
    digested(&ctx, Stack::OpenSsl);
    0
}

/// OpenSSL inside a program calls `EVP_Digest(ticket, length, ...)`.
#[uprobe]
pub fn ticket_inside(ctx: ProbeContext) -> u32 {
    digested(&ctx, Stack::OpenSslInside);
    0
}

#[inline(always)]
fn digested(ctx: &ProbeContext, stack: Stack) -> Option<()> {
    let tgid = enter()?;
    let ssl = connection::client(ctx, tgid)?;
    let [data, len, _] = registers::arguments(ctx);
    if len == 0 || len > LONGEST {
        misfire(Part::Library(stack), tgid);
        return None;
    }
    // A ticket of an unknown connection tells nothing.
    if ssl == 0 {
        return None;
    }
    let observation = Observation::Ticket as u8;
    let body = Library { observation, tgid, ssl, len: len as u32, ..Library::default() };
    deliver(body, data);
    Some(())
}

/// Delivers a ticket, or the message with it, or says that it is lost: a session that nobody saw begin.
#[inline(always)]
pub fn deliver(body: Library, data: u64) {
    let Library { tgid, ssl, len, .. } = body;
    let is_told = match budget(tgid, ssl, len) {
        Budget::Left => emit::bytes(body, What::Ticket, data, len),
        spent => {
            add(LibraryCount::TicketLimited, 1);
            matches!(spent, Budget::Spent)
        }
    };
    if !is_told {
        let observation = Observation::TicketLost as u8;
        if !emit::record(Library { observation, tgid, ssl, ..Library::default() }) {
            // Of more processes at once than it holds the loss is only counted.
            let _ = UNTOLD.insert(tgid, 0, 0);
        }
    }
}

enum Budget {
    Left,
    /// Since this ticket.
    JustSpent,
    Spent,
}

/// Takes so many bytes from what the connection at `ssl` may deliver.
#[inline(always)]
fn budget(tgid: u32, ssl: u64, bytes: u32) -> Budget {
    let Some(known) = connection::known(tgid, ssl) else { return Budget::Left };
    // SAFETY: no arguments.
    let second = unsafe { bpf_ktime_get_ns() } / 1_000_000_000;
    let passed = second.wrapping_sub(known.second);
    let regained = if passed > 60 { AT_ONCE } else { passed as u32 * PER_SECOND };
    let used = known.tickets.saturating_sub(regained);
    known.second = second;
    let wanted = used.saturating_add(bytes);
    known.tickets = if wanted > AT_ONCE { AT_ONCE } else { wanted };
    match (wanted > AT_ONCE, used < AT_ONCE) {
        (false, _) => Budget::Left,
        (true, true) => Budget::JustSpent,
        (true, false) => Budget::Spent,
    }
}
