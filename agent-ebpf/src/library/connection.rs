//! Which connection object a hit belongs to, and which role that has.
//!
//! `SSL_set_connect_state` and `SSL_set_accept_state` run once per connection (`SSL_connect` and
//! `SSL_accept` call them). Later hits find the object without any structure offset: the libssl
//! functions that are probed need it after the probed call, to raise an error on, so it is in a
//! register that the call preserves. A register that holds a known object's address names it.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use hopsight_abi::{Library, LibraryCount, Observation};

use super::{CLIENT, CONNECTIONS, Connection, Known, LOST, SERVER, add, emit, enter, registers};

/// `SSL_set_connect_state(connection)` is entered.
#[uprobe]
pub fn connect_state(ctx: ProbeContext) -> u32 {
    set_role(&ctx, CLIENT);
    0
}

/// `SSL_set_accept_state(connection)` is entered.
#[uprobe]
pub fn accept_state(ctx: ProbeContext) -> u32 {
    set_role(&ctx, SERVER);
    0
}

#[inline(always)]
fn set_role(ctx: &ProbeContext, role: u32) -> Option<()> {
    let tgid = enter()?;
    let [ssl, ..] = registers::arguments(ctx);
    set(tgid, ssl, role);
    if role == CLIENT {
        let observation = Observation::ClientMade as u8;
        emit::record(Library { observation, tgid, ssl, ..Library::default() });
    }
    Some(())
}

/// Notes that a connection of this role begins with the object at `ssl`.
#[inline(always)]
pub fn set(tgid: u32, ssl: u64, role: u32) {
    let known = Known { role, tickets: 0, second: 0 };
    // A full LRU map evicts; the connection then counts as unknown.
    let _ = CONNECTIONS.insert(Connection { tgid: tgid.into(), ssl }, known, 0);
}

/// Role of the connection object at `ssl`, if it is known.
#[inline(always)]
pub fn role(tgid: u32, ssl: u64) -> Option<u32> {
    known(tgid, ssl).map(|known| known.role)
}

/// What is known of the connection object at `ssl`.
#[inline(always)]
pub fn known(tgid: u32, ssl: u64) -> Option<&'static mut Known> {
    let known = CONNECTIONS.get_ptr_mut(Connection { tgid: tgid.into(), ssl })?;
    // SAFETY: the map's value, which lives until the program ends (RCU). Threads that write at the same
    // time write whole words.
    unsafe { known.as_mut() }
}

/// A message of the client connection at `ssl` was lost. What follows may belong to another handshake
/// at the same address, whose beginning that was: it is not shown.
#[inline(always)]
pub fn lose(tgid: u32, ssl: u64) {
    if let Some(known) = known(tgid, ssl)
        && known.role == CLIENT
    {
        known.role = LOST;
    }
}

/// The client connection of a hit inside libssl, 0 where it is not known; `None` for a server's.
#[inline(always)]
pub fn client(ctx: &ProbeContext, tgid: u32) -> Option<u64> {
    for ssl in registers::preserved(ctx) {
        match role(tgid, ssl) {
            Some(CLIENT) => return Some(ssl),
            Some(LOST) => return None,
            Some(_) => {
                add(LibraryCount::Server, 1);
                return None;
            }
            None => {}
        }
    }
    Some(0)
}
