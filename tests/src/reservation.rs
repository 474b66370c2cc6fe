//! Numbers that one test process at a time uses: ports, address blocks.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as LocalAddr, UnixListener},
    },
    process,
    sync::Mutex,
    sync::PoisonError,
};

use anyhow::Context as _;

/// A number that nobody else reserves while this lives.
#[derive(Debug)]
pub struct Reservation {
    /// The number.
    pub number: u16,
    // An abstract socket of unix(7): the kernel keeps its name for the network namespace's
    // processes, and frees it with the last of ours, however that ends.
    _name: UnixListener,
}

impl Reservation {
    /// The first number of `range`, beginning somewhere that differs from process to process, that
    /// is free and `fits`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(
        kind: &str,
        range: std::ops::Range<u16>,
        fits: impl Fn(u16) -> bool,
    ) -> anyhow::Result<Self> {
        let len = u32::from(range.end - range.start);
        for step in 0..len {
            let offset = process::id().wrapping_mul(61).wrapping_add(step) % len;
            let number = range.start + u16::try_from(offset).context("stay in the range")?;
            let name = LocalAddr::from_abstract_name(format!("hopsight-test-{kind}-{number}"))?;
            match UnixListener::bind_addr(&name) {
                Ok(listener) if fits(number) => return Ok(Self { number, _name: listener }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("bind an abstract socket"),
            }
        }
        anyhow::bail!("no free {kind} in {range:?}")
    }
}

/// Ports of servers that cannot have an address of their own. No connection goes out from them
/// (ip_local_port_range begins at 32768), and the constants of [`crate::loopback`] are elsewhere.
const PORTS: std::ops::Range<u16> = 24_000..32_000;

/// A port of `address` that nothing listens on, and that no other test gets as long as this process
/// lives.
///
/// # Errors
/// When there is none.
pub fn port(address: IpAddr) -> anyhow::Result<u16> {
    static HELD: Mutex<Vec<Reservation>> = Mutex::new(Vec::new());
    let is_free = |port| TcpListener::bind(SocketAddr::new(address, port)).is_ok();
    let reservation = Reservation::of("port", PORTS, is_free)?;
    let number = reservation.number;
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::Reservation;

    #[test]
    fn a_number_is_reserved_once_and_free_again_afterwards() {
        let reserve = || Reservation::of("once", 0..2, |_| true);
        let first = reserve().unwrap();
        let second = reserve().unwrap();
        assert_ne!(first.number, second.number);
        assert!(reserve().is_err(), "both are taken");
        drop(first);
        reserve().unwrap();
        assert!(Reservation::of("unfit", 0..2, |_| false).is_err());
    }
}
