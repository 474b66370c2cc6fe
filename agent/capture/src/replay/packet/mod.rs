//! From a captured frame to its TCP segment, through whatever it is wrapped in.

mod fragments;
mod layer;
mod link;
mod network;
mod tunnel;
mod unread;

#[cfg(test)]
mod fragments_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use self::{
    fragments::{Datagram, Fragment, Fragments},
    layer::{Layer, Path},
    unread::Unread,
};
use super::frame::Frame;

/// Headers followed inside one another, tunnels or not.
const MAX_DEPTH: usize = 16;

/// A TCP segment as found in a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are the TCP flags")]
pub struct TcpSegment<'a> {
    /// What it is inside of.
    pub path: Path,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number of the first payload byte (of the SYN itself, if it is one).
    pub sequence: u32,
    /// Acknowledgement number; means nothing without `ack`.
    pub acknowledged: u32,
    /// SYN flag.
    pub syn: bool,
    /// ACK flag.
    pub ack: bool,
    /// FIN flag.
    pub fin: bool,
    /// RST flag.
    pub rst: bool,
    /// Payload length by the IP header; larger than `payload` where the capture was cut.
    pub payload_len: u32,
    /// Captured payload.
    pub payload: &'a [u8],
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A TCP segment.
    Tcp(TcpSegment<'a>),
    /// A part of an IP datagram.
    Fragment(Fragment<'a>),
    /// Something in which no TCP can be.
    Other,
    /// Something in which TCP may be, and that is not looked into.
    Unread(Unread),
}

/// What this frame holds.
#[must_use]
pub fn content<'a>(frame: &Frame<'a>) -> Content<'a> {
    let Some(link) = frame.link else { return Content::Unread(Unread::Interface) };
    let mut walk = Walk { path: Path::default(), missing: frame.missing, depth: 0 };
    walk.link(link, frame.data).unwrap_or(Content::Unread(Unread::Header))
}

/// What this datagram holds, which was put together from its fragments.
#[must_use]
pub fn datagram_content(datagram: &Datagram) -> Content<'_> {
    let Datagram { path, source, destination, protocol, payload } = datagram;
    let mut walk = Walk { path: path.clone(), missing: 0, depth: path.len() };
    let length = payload.len();
    walk.transport(*protocol, (*source, *destination), (payload, length))
        .unwrap_or(Content::Unread(Unread::Header))
}

/// The way into a frame. Each step returns `None` where a header is missing or contradicts itself.
struct Walk {
    path: Path,
    /// Bytes at the frame's end that were not captured.
    missing: usize,
    depth: usize,
}

impl Walk {
    /// One header further in; false if that is too far.
    const fn descend(&mut self) -> bool {
        self.depth += 1;
        self.depth <= MAX_DEPTH
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The three-byte network identifier of VXLAN and GENEVE.
fn be24(bytes: &[u8], at: usize) -> Option<u32> {
    Some(be32(bytes, at)? >> 8)
}
