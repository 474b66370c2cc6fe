//! What both capture formats share: frames, byte order, and why a file ends early.

use std::io;

use super::input::Input;
use hopsight_core::model::Timestamp;

/// Bytes of a packet that are looked at: the longest that Linux makes (BIG TCP, 512 KiB) is longer
/// than what is used of a connection.
pub const MAX_FRAME: usize = 512 << 10;

/// A packet as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Link type (<https://www.tcpdump.org/linktypes.html>); `None` where the file does not say.
    pub link: Option<u32>,
    /// When it was captured, since the Unix epoch.
    pub at: Timestamp,
    /// Its captured beginning.
    pub data: &'a [u8],
    /// Bytes of it that were not captured.
    pub missing: usize,
}

/// Why reading ended before the file did.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file ends where it says that more comes.
    #[error("the file ends inside of a packet or block")]
    Cut,
    /// No program writes packets of this length.
    #[error("a packet is said to be {0} bytes long")]
    Length(u32),
    /// The two lengths around a pcapng block differ, or leave no room for it.
    #[error("a block's lengths are {0} and {1}")]
    BlockLength(u32, u32),
    /// A section's byte-order magic is none.
    #[error("a section begins without its byte-order magic")]
    Section,
    /// A recorded event is none.
    #[error("event {line}: {cause}")]
    Event {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
}

/// Order of the bytes in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Most significant first.
    Big,
    /// Least significant first.
    Little,
}

impl Order {
    /// The number at `at`; 0 where the bytes are missing.
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = array(bytes, at);
        if self == Self::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    /// The number at `at`; 0 where the bytes are missing.
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = array(bytes, at);
        if self == Self::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// The number at `at`; 0 where the bytes are missing.
    pub fn i64(self, bytes: &[u8], at: usize) -> i64 {
        let bytes = array(bytes, at);
        if self == Self::Big { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) }
    }
}

fn array<const LENGTH: usize>(bytes: &[u8], at: usize) -> [u8; LENGTH] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<LENGTH>()).copied().unwrap_or([0; LENGTH])
}

/// The next `LENGTH` bytes; `None` where the input ends before the first of them.
pub fn header<const LENGTH: usize>(input: &mut Input) -> Result<Option<[u8; LENGTH]>, Damage> {
    let bytes = input.take(LENGTH)?;
    match bytes.first_chunk() {
        Some(header) => Ok(Some(*header)),
        None if bytes.is_empty() => Ok(None),
        None => Err(Damage::Cut),
    }
}
