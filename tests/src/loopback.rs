//! Addresses that no other run on this machine uses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::reservation::port;

/// Holding this port on a block's last address reserves the block.
const LOCK_PORT: u16 = 50_000;

/// A /24 of 127.0.0.0/8 that nobody else here uses.
///
/// Several demos, tests and agents share a machine; with an address block each, their ports can be
/// readable constants and outgoing connections never sit on one.
#[derive(Clone, Copy, Debug)]
pub struct Loopback {
    high: u8,
    low: u8,
}

impl Loopback {
    /// Reserves the next block of this process.
    ///
    /// # Errors
    /// When no block is free.
    pub fn reserve() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..64 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let [.., high, low] = process::id().wrapping_mul(61).wrapping_add(number).to_be_bytes();
            // 127.0.0.0/16 holds 127.0.0.1 and resolvers.
            let block = Self { high: high.max(1), low };
            // The lock is the listener itself; it is never dropped.
            if let Ok(listener) = TcpListener::bind((block.host(255), LOCK_PORT)) {
                std::mem::forget(listener);
                return Ok(block);
            }
        }
        anyhow::bail!("no free block of loopback addresses")
    }

    /// The block's address number `host`.
    #[must_use]
    pub const fn host(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.high, self.low, host)
    }

    /// A socket address in the block.
    #[must_use]
    pub const fn socket(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.host(host)), port)
    }
}

/// A free port on 127.0.0.1, for programs that listen nowhere else.
///
/// # Errors
/// When there is none.
pub fn free_socket() -> anyhow::Result<SocketAddr> {
    reserved(Ipv4Addr::LOCALHOST.into())
}

/// A free port on `::1`, which has no siblings to be alone on.
///
/// # Errors
/// When IPv6 is off.
pub fn ipv6_socket() -> anyhow::Result<SocketAddr> {
    reserved(Ipv6Addr::LOCALHOST.into())
}

/// A port that is free on every address of the machine, for servers that cannot be told one.
///
/// # Errors
/// When there is none.
pub fn port_everywhere() -> anyhow::Result<u16> {
    port(Ipv4Addr::UNSPECIFIED.into())
}

fn reserved(address: IpAddr) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::new(address, port(address)?))
}
