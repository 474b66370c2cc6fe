//! Classic captures (draft-ietf-opsawg-pcap), with the variants that libpcap reads
//! (`sf-pcap.c`).

use super::{
    frame::{Damage, Frame, MAX_FRAME, Order, header},
    input::Input,
};
use hopsight_core::model::Timestamp;

/// Longest packet of any link type, in bytes (libpcap's `MAX_SNAPLEN` for USB).
const MAX_PACKET: u32 = 128 << 20;

/// How the two lengths of a packet are written: programs before libpcap 0.4 changed their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// Captured, then original.
    InOrder,
    /// Original, then captured.
    Exchanged,
    /// As the program liked: the smaller one is what was captured.
    Either,
}

/// The packets of a classic capture. The header's snapshot length is not believed: packets longer
/// than it, and a length of 0, are common.
#[derive(Debug)]
pub struct Pcap {
    order: Order,
    link: u32,
    /// Nanoseconds in a unit of the time stamps' second half.
    fraction: u64,
    lengths: Lengths,
    /// Bytes that each packet's header has beside the usual ones: Kuznetsov's patched tcpdump notes
    /// interface, protocol and packet type.
    extra: u64,
    /// Bytes of the last packet that nobody looked at.
    rest: u64,
}

impl Pcap {
    /// Reads the file's header; `None` if it is not one of a classic capture.
    pub fn open(input: &mut Input) -> Result<Option<Self>, Damage> {
        let [a, b, c, d] = *input.peek(4)? else { return Ok(None) };
        let (order, fraction, extra) = match [a, b, c, d] {
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, 1_000, 0),
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, 1_000, 0),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, 1, 0),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, 1, 0),
            [0xa1, 0xb2, 0xcd, 0x34] => (Order::Big, 1_000, 8),
            [0x34, 0xcd, 0xb2, 0xa1] => (Order::Little, 1_000, 8),
            _ => return Ok(None),
        };
        let header = header::<24>(input)?.ok_or(Damage::Cut)?;
        let lengths = match (order.u16(&header, 4), order.u16(&header, 6)) {
            (2, 3) => Lengths::Either,
            (2, 0..3) | (0..2, _) => Lengths::Exchanged,
            _ => Lengths::InOrder,
        };
        // Above the link type stands how long the frame check sequences are.
        let link = order.u32(&header, 20) & 0x03ff_ffff;
        Ok(Some(Self { order, link, fraction, lengths, extra, rest: 0 }))
    }

    /// The next packet, `None` at the end of the file.
    pub fn next<'a>(&mut self, input: &'a mut Input) -> Result<Option<Frame<'a>>, Damage> {
        if self.rest > 0 && !input.skip(std::mem::take(&mut self.rest))? {
            return Err(Damage::Cut);
        }
        let Some(header) = header::<16>(input)? else { return Ok(None) };
        let [seconds, fraction, first, second] =
            [0, 4, 8, 12].map(|at| self.order.u32(&header, at));
        let (captured, original) = match self.lengths {
            Lengths::InOrder => (first, second),
            Lengths::Exchanged => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        };
        if captured > MAX_PACKET {
            return Err(Damage::Length(captured));
        }
        if self.extra > 0 && !input.skip(self.extra)? {
            return Err(Damage::Cut);
        }
        let looked_at = (captured as usize).min(MAX_FRAME);
        self.rest = u64::from(captured) - looked_at as u64;
        let data = input.take(looked_at)?;
        if data.len() < looked_at {
            return Err(Damage::Cut);
        }
        Ok(Some(Frame {
            link: Some(self.link),
            // A fraction above a second is odd, and no reason to refuse the packet.
            at: Timestamp(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.fraction),
            data,
            missing: original.saturating_sub(captured) as usize,
        }))
    }
}
