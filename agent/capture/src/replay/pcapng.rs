//! pcapng captures (draft-ietf-opsawg-pcapng): sections, interfaces and the three kinds of packet
//! blocks. Other blocks are passed over, however long they are.

use super::{
    frame::{Damage, Frame, MAX_FRAME, Order, header},
    input::Input,
};
use hopsight_core::model::Timestamp;

/// A section's beginning, the same in both byte orders.
pub const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Block types (section 11.1).
mod block {
    pub const INTERFACE_DESCRIPTION: u32 = 1;
    pub const OBSOLETE_PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const ENHANCED_PACKET: u32 = 6;
}

/// Interfaces of a section that are known; the obsolete packet block cannot number more.
const MAX_INTERFACES: usize = 1 << 16;
/// Bytes of an interface's options that are read.
const MAX_OPTIONS: usize = 64 << 10;

/// What packets need to know of their interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snap_len: u32,
    /// `if_tsresol` (section 4.2): the power of 10, or with the highest bit set of 2, by which time
    /// stamps divide the second.
    resolution: u8,
    /// `if_tsoffset`: seconds to add to every time stamp.
    offset: i64,
}

impl Interface {
    /// The time stamp as nanoseconds since the epoch.
    fn nanoseconds(&self, stamp: u64) -> Timestamp {
        let exponent = u32::from(self.resolution & 0x7f);
        let stamp = u128::from(stamp);
        let nanoseconds = match (self.resolution & 0x80, exponent) {
            (0, 0..=9) => stamp.saturating_mul(10_u128.pow(9 - exponent)),
            (0, _) => 10_u128.checked_pow(exponent - 9).map_or(0, |units| stamp / units),
            _ => (stamp * 1_000_000_000) >> exponent,
        };
        let offset = i128::from(self.offset) * 1_000_000_000;
        let since_epoch = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp(u64::try_from(since_epoch.max(0)).unwrap_or(u64::MAX))
    }
}

/// The packets of a pcapng capture.
#[derive(Debug)]
pub struct PcapNg {
    order: Order,
    /// Those of the section.
    interfaces: Vec<Interface>,
    /// What is left of the last block, and its length, which follows once more after it.
    open_block: Option<(u64, u32)>,
    /// Time of the last packet that has one.
    last: Timestamp,
    odd_options: u64,
}

/// Where in a packet block what is.
struct Layout {
    /// Length of what comes before the packet.
    before: usize,
    interface: u32,
    /// Place of the higher half of the time stamp, the lower half after it.
    stamp: Option<usize>,
    captured: u32,
    original: u32,
}

impl PcapNg {
    /// At the beginning of a file; false if it does not begin a section.
    pub fn open(input: &mut Input) -> Result<Option<Self>, Damage> {
        if input.peek(4)? != SECTION_HEADER {
            return Ok(None);
        }
        // Whatever the byte order, which comes with the section.
        let order = Order::Little;
        let last = Timestamp::default();
        let mut file =
            Self { order, interfaces: Vec::new(), open_block: None, last, odd_options: 0 };
        file.begin_block(input)?;
        Ok(Some(file))
    }

    /// Options of interfaces that are none, or whose value is of another length than it has to be.
    pub const fn odd_options(&self) -> u64 {
        self.odd_options
    }

    /// The next packet, `None` at the end of the file.
    pub fn next<'a>(&mut self, input: &'a mut Input) -> Result<Option<Frame<'a>>, Damage> {
        loop {
            self.end_block(input)?;
            let Some((kind, length)) = self.begin_block(input)? else { return Ok(None) };
            if let Some(layout) = self.packet_layout(kind, length, input)? {
                return self.packet(&layout, length, input).map(Some);
            }
            if kind == block::INTERFACE_DESCRIPTION {
                self.interface(length, input)?;
            }
        }
    }

    /// Type and body length of the next block. A section header is read.
    fn begin_block(&mut self, input: &mut Input) -> Result<Option<(u32, u64)>, Damage> {
        let Some(header) = header::<8>(input)? else { return Ok(None) };
        let is_section = header[..4] == SECTION_HEADER;
        if is_section {
            self.order = match input.peek(4)? {
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                bytes if bytes.len() < 4 => return Err(Damage::Cut),
                _ => return Err(Damage::Section),
            };
            self.interfaces.clear();
        }
        let total = self.order.u32(&header, 4);
        // Lengths are multiples of 4; where they are not, what follows is aligned nonetheless.
        let aligned = u64::from(total).next_multiple_of(4);
        let Some(length) = aligned.checked_sub(12) else {
            return Err(Damage::BlockLength(total, total));
        };
        self.open_block = Some((length, total));
        Ok(Some((self.order.u32(&header, 0), length)))
    }

    /// Passes what is left of the last block.
    fn end_block(&mut self, input: &mut Input) -> Result<(), Damage> {
        let Some((rest, total)) = self.open_block.take() else { return Ok(()) };
        if !input.skip(rest)? {
            return Err(Damage::Cut);
        }
        let again = header::<4>(input)?.ok_or(Damage::Cut)?;
        let again = self.order.u32(&again, 0);
        if again == total { Ok(()) } else { Err(Damage::BlockLength(total, again)) }
    }

    /// Takes bytes of the open block's body, fewer where the file ends.
    fn body<'a>(&mut self, length: usize, input: &'a mut Input) -> Result<&'a [u8], Damage> {
        let bytes = input.take(length)?;
        if let Some((rest, _)) = &mut self.open_block {
            *rest -= bytes.len() as u64;
        }
        Ok(bytes)
    }

    /// Reads a packet block's fixed part; `None` if it is not one.
    fn packet_layout(
        &self,
        kind: u32,
        length: u64,
        input: &mut Input,
    ) -> Result<Option<Layout>, Damage> {
        let order = self.order;
        let before = match kind {
            block::ENHANCED_PACKET | block::OBSOLETE_PACKET => 20,
            block::SIMPLE_PACKET => 4,
            _ => return Ok(None),
        };
        if length < before as u64 {
            return Ok(None);
        }
        let fixed = input.peek(before)?;
        if fixed.len() < before {
            return Err(Damage::Cut);
        }
        let [first, captured, original] = [0, 12, 16].map(|at| order.u32(fixed, at));
        Ok(Some(match kind {
            block::ENHANCED_PACKET => {
                Layout { before, interface: first, stamp: Some(4), captured, original }
            }
            block::OBSOLETE_PACKET => {
                let interface = order.u16(fixed, 0).into();
                Layout { before, interface, stamp: Some(4), captured, original }
            }
            _ => {
                // It has no captured length: the interface's snapshot length cuts it.
                let snap_len = self.interfaces.first().map_or(0, |interface| interface.snap_len);
                let captured = if snap_len == 0 { first } else { first.min(snap_len) };
                Layout { before, interface: 0, stamp: None, captured, original: first }
            }
        }))
    }

    fn packet<'a>(
        &mut self,
        layout: &Layout,
        length: u64,
        input: &'a mut Input,
    ) -> Result<Frame<'a>, Damage> {
        let order = self.order;
        let room = length - layout.before as u64;
        let captured = u64::from(layout.captured).min(room);
        let looked_at = usize::try_from(captured).unwrap_or(MAX_FRAME).min(MAX_FRAME);
        let interface = self.interfaces.get(layout.interface as usize).copied();
        let bytes = self.body(layout.before + looked_at, input)?;
        let Some((fixed, data)) = bytes.split_at_checked(layout.before) else {
            return Err(Damage::Cut);
        };
        if data.len() < looked_at {
            return Err(Damage::Cut);
        }
        if let Some(at) = layout.stamp {
            let [high, low] = [at, at + 4].map(|at| u64::from(order.u32(fixed, at)));
            self.last = interface.map_or(self.last, |it| it.nanoseconds(high << 32 | low));
        }
        let missing = u64::from(layout.original).saturating_sub(captured);
        Ok(Frame {
            link: interface.map(|interface| interface.link),
            // A simple packet block has no time: it came after the packet before it.
            at: self.last,
            data,
            missing: usize::try_from(missing).unwrap_or(usize::MAX),
        })
    }

    fn interface(&mut self, length: u64, input: &mut Input) -> Result<(), Damage> {
        let looked_at = usize::try_from(length).unwrap_or(MAX_OPTIONS).min(MAX_OPTIONS);
        let order = self.order;
        let body = self.body(looked_at, input)?;
        if body.len() < looked_at {
            return Err(Damage::Cut);
        }
        let mut interface = Interface {
            link: order.u16(body, 0).into(),
            snap_len: order.u32(body, 4),
            resolution: 6,
            offset: 0,
        };
        let mut odd = 0;
        let is_whole =
            options(order, body.get(8..).unwrap_or_default(), |code, value| match (code, value) {
                (9, [resolution]) => interface.resolution = *resolution,
                (14, [_, _, _, _, _, _, _, _]) => interface.offset = order.i64(value, 0),
                (9 | 14, _) => odd += 1,
                _ => {}
            });
        self.odd_options += odd + u64::from(!is_whole);
        if self.interfaces.len() < MAX_INTERFACES {
            self.interfaces.push(interface);
        }
        Ok(())
    }
}

/// Hands every option (section 3.5) to `take`. The end mark may be missing. False if the options
/// end in one that does not fit; what came before it counts.
fn options(order: Order, mut bytes: &[u8], mut take: impl FnMut(u16, &[u8])) -> bool {
    while let Some((head, rest)) = bytes.split_at_checked(4) {
        let (code, length) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
        if code == 0 {
            return true;
        }
        let Some(value) = rest.get(..length) else { return false };
        take(code, value);
        bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    bytes.is_empty()
}
