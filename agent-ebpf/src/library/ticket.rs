//! OpenSSL digests each ticket that a server gives, for the identifier of the session. (In the other
//! libraries a NewSessionTicket is a message like all others.)

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use hopsight_abi::{Library, Observation, Part, Stack};

use super::{connection, emit, enter, misfire, registers};

/// Longest ticket (RFC 8446 section 4.6.1).
const LONGEST: u64 = 0xffff;

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
    // One that is lost is a session that nobody saw begin.
    let _ = emit::bytes(body, data, len as u32);
    Some(())
}
