//! A point-to-point interface whose other end is this process: what it writes, the kernel receives
//! as packets of a machine that does not exist, with any sequence number, flag and checksum.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::Context as _;
use hopsight_tests::reservation::Reservation;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    ioctl::{Setter, ioctl},
};

/// `TUNSETIFF`, `_IOW('T', 202, int)` of linux/if_tun.h.
const TUNSETIFF: u32 = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: bare IP packets.
const FLAGS: u16 = 0x1001;

/// `struct ifreq` of linux/if.h, as far as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// The interface; it goes when this does.
pub struct Tun {
    file: File,
    _block: Reservation,
    /// The kernel's address.
    pub near: Ipv4Addr,
    /// The address of the machine that we are.
    pub far: Ipv4Addr,
}

impl Tun {
    /// Makes an interface with addresses of 198.19.0.0/16 (RFC 2544's benchmarking range, of which
    /// [`hopsight_tests::netns`] uses the other half).
    pub fn create() -> anyhow::Result<Self> {
        let reserved = Reservation::of("tun", 0..256, |_| true)?;
        let block = u8::try_from(reserved.number).context("stay in 198.19.0.0/16")?;
        let name = format!("hopsight-tun{block}");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/net/tun")
            .context("open /dev/net/tun")?;
        let mut request = InterfaceRequest { name: [0; 16], flags: FLAGS, rest: [0; 22] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        #[expect(unsafe_code, reason = "TUNSETIFF has no safe wrapper")]
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `InterfaceRequest` is.
        unsafe { ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }
            .context("make a tun interface")?;
        let (near, far) = (Ipv4Addr::new(198, 19, block, 1), Ipv4Addr::new(198, 19, block, 2));
        for arguments in [format!("addr add {near}/30 dev {name}"), format!("link set {name} up")] {
            hopsight_tests::process::run("ip", arguments.split(' '))?;
        }
        Ok(Self { file, _block: reserved, near, far })
    }

    /// The next packet that the kernel sent, if there is one.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        match self.file.read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("read from the interface: {error}"),
        }
    }

    /// Lets the kernel receive this packet.
    pub fn send(&mut self, packet: &[u8]) {
        self.file.write_all(packet).expect("write to the interface");
    }

    /// Waits a millisecond at most for a packet.
    pub fn wait(&self) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let mut descriptors = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut descriptors, Some(&timeout)).expect("wait for a packet");
    }
}
