//! Link types and what follows their headers: ethertypes, LLC, PPP and MPLS.

use super::{Content, Layer, Unread, Walk, be16, be32};

/// Link types that are read (<https://www.tcpdump.org/linktypes.html>).
mod link_type {
    pub const NULL: u32 = 0;
    pub const ETHERNET: u32 = 1;
    pub const PPP: u32 = 9;
    pub const RAW_BSD: u32 = 12;
    pub const RAW_OPENBSD: u32 = 14;
    pub const PPP_HDLC: u32 = 50;
    pub const PPP_ETHER: u32 = 51;
    pub const RAW: u32 = 101;
    pub const C_HDLC: u32 = 104;
    pub const LOOP: u32 = 108;
    pub const ENC: u32 = 109;
    pub const LINUX_SLL: u32 = 113;
    pub const PFLOG: u32 = 117;
    pub const IP_OVER_FIREWIRE: u32 = 138;
    pub const PPP_PPPD: u32 = 166;
    pub const PPI: u32 = 192;
    pub const PPP_WITH_DIRECTION: u32 = 204;
    pub const C_HDLC_WITH_DIRECTION: u32 = 205;
    pub const IPNET: u32 = 226;
    pub const IPV4: u32 = 228;
    pub const IPV6: u32 = 229;
    pub const NFLOG: u32 = 239;
    pub const IPOIB: u32 = 242;
    pub const PKTAP: u32 = 258;
    pub const LINUX_SLL2: u32 = 276;
}

/// Ethertypes that lead on (IEEE 802 numbers).
mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const PPP: u16 = 0x880b;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MULTICAST: u16 = 0x8848;
    pub const PPPOE_SESSION: u16 = 0x8864;
    pub const PROVIDER_BRIDGE: u16 = 0x88a8;
    pub const MACSEC: u16 = 0x88e5;
    pub const BACKBONE_BRIDGE: u16 = 0x88e7;
    pub const CISCO_METADATA: u16 = 0x8909;
    pub const SERVICE_HEADER: u16 = 0x894f;
    /// What came before 802.1ad for the outer of two tags.
    pub const OLD_OUTER_VLAN: [u16; 3] = [0x9100, 0x9200, 0x9300];
}

/// Lengths below this one stand in a frame's type field in place of a type (IEEE 802.3).
const SMALLEST_TYPE: u16 = 0x0600;

impl Walk {
    /// A frame of this link type.
    pub(super) fn link<'a>(&mut self, link: u32, frame: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        match link {
            link_type::ETHERNET => self.ethernet(frame),
            link_type::RAW
            | link_type::RAW_BSD
            | link_type::RAW_OPENBSD
            | link_type::IPV4
            | link_type::IPV6 => self.ip(frame),
            // BSD loopback: an address family of four bytes, whose numbers differ between systems.
            link_type::NULL | link_type::LOOP => self.ip_or_other(frame.get(4..)?),
            link_type::LINUX_SLL => self.cooked(be16(frame, 14)?, frame.get(16..)?),
            link_type::LINUX_SLL2 => self.cooked(be16(frame, 0)?, frame.get(20..)?),
            link_type::PPP | link_type::PPP_HDLC => self.ppp_or_hdlc(frame),
            link_type::PPP_ETHER => self.pppoe(frame),
            link_type::PPP_PPPD | link_type::PPP_WITH_DIRECTION => {
                self.ppp_or_hdlc(frame.get(1..)?)
            }
            link_type::C_HDLC => self.ether_type(be16(frame, 2)?, frame.get(4..)?),
            link_type::C_HDLC_WITH_DIRECTION => self.ether_type(be16(frame, 3)?, frame.get(5..)?),
            // OpenBSD: address family, security parameters and flags.
            link_type::ENC => self.ip_or_other(frame.get(12..)?),
            // OpenBSD: its own length comes first, and IP at the next multiple of four.
            link_type::PFLOG => {
                let length = usize::from(*frame.first()?).next_multiple_of(4);
                self.ip_or_other(frame.get(length..)?)
            }
            link_type::IP_OVER_FIREWIRE => self.ether_type(be16(frame, 16)?, frame.get(18..)?),
            link_type::IPNET => self.ip(frame.get(24..)?),
            link_type::NFLOG => self.nflog(frame),
            // IP over InfiniBand: two addresses of 20 bytes, a type, two bytes without meaning.
            link_type::IPOIB => self.ether_type(be16(frame, 40)?, frame.get(44..)?),
            // Per-packet information and Apple's packet tap: their own length, and the link type of
            // what follows, little endian.
            link_type::PPI => {
                let after = be16(frame, 2)?.swap_bytes();
                self.link(be32(frame, 4)?.swap_bytes(), frame.get(after.into()..)?)
            }
            link_type::PKTAP => {
                let after = be32(frame, 0)?.swap_bytes();
                let after = usize::try_from(after).ok()?;
                self.link(be32(frame, 8)?.swap_bytes(), frame.get(after..)?)
            }
            other => Some(Content::Unread(Unread::LinkType(other))),
        }
    }

    /// An Ethernet frame from its addresses on.
    pub(super) fn ethernet<'a>(&mut self, frame: &'a [u8]) -> Option<Content<'a>> {
        self.ether_type(be16(frame, 12)?, frame.get(14..)?)
    }

    /// What stands after Linux's pseudo headers: the types below [`SMALLEST_TYPE`] are Linux's own
    /// (`if_ether.h`).
    fn cooked<'a>(&mut self, kind: u16, payload: &'a [u8]) -> Option<Content<'a>> {
        match kind {
            // Novell's frames, and those of CAN buses.
            0x0001 | 0x000c..=0x000e => Some(Content::Other),
            0x0004 => self.llc(payload),
            _ => self.ether_type(kind, payload),
        }
    }

    /// What stands after an ethertype.
    pub(super) fn ether_type<'a>(&mut self, kind: u16, payload: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        match kind {
            ether_type::IPV4 | ether_type::IPV6 => self.ip(payload),
            ether_type::VLAN | ether_type::PROVIDER_BRIDGE => self.vlan(payload),
            kind if ether_type::OLD_OUTER_VLAN.contains(&kind) => self.vlan(payload),
            ether_type::PPPOE_SESSION => self.pppoe(payload),
            ether_type::MPLS | ether_type::MPLS_MULTICAST => self.mpls(payload),
            ether_type::TRANSPARENT_ETHERNET => self.ethernet(payload),
            ether_type::PPP => self.ppp(payload),
            // Version, length, option and value; then the ethertype of what follows.
            ether_type::CISCO_METADATA => self.ether_type(be16(payload, 6)?, payload.get(8..)?),
            ether_type::BACKBONE_BRIDGE => {
                self.path.enter(Layer::Backbone(be32(payload, 0)? & 0x00ff_ffff));
                self.ethernet(payload.get(4..)?)
            }
            ether_type::MACSEC => self.macsec(payload),
            ether_type::SERVICE_HEADER => self.service_header(payload),
            ..SMALLEST_TYPE => self.llc(payload),
            kind if carries_no_ip(kind) => Some(Content::Other),
            kind => Some(Content::Unread(Unread::EtherType(kind))),
        }
    }

    fn vlan<'a>(&mut self, tag: &'a [u8]) -> Option<Content<'a>> {
        // Identifier 0 is of no VLAN: the tag is there for its priority.
        match be16(tag, 0)? & 0x0fff {
            0 => {}
            id => self.path.enter(Layer::Vlan(id)),
        }
        self.ether_type(be16(tag, 2)?, tag.get(4..)?)
    }

    /// IEEE 802.1AE: without encryption the frame stands in the clear after the tag.
    fn macsec<'a>(&mut self, tag: &'a [u8]) -> Option<Content<'a>> {
        let control = *tag.first()?;
        let [has_identifier, is_encrypted] = [0x20, 0x0c].map(|bits| control & bits != 0);
        if is_encrypted {
            return Some(Content::Unread(Unread::Inside("MACsec")));
        }
        let length = if has_identifier { 14 } else { 6 };
        self.ether_type(be16(tag, length)?, tag.get(length + 2..)?)
    }

    /// Network service header (RFC 8300).
    pub(super) fn service_header<'a>(&mut self, header: &'a [u8]) -> Option<Content<'a>> {
        let length = usize::from(header.get(1)? & 0x3f) * 4;
        let next = *header.get(3)?;
        self.next_protocol(next, header.get(length..)?)
    }

    /// The protocol numbers that VXLAN-GPE and the network service header share.
    pub(super) fn next_protocol<'a>(
        &mut self,
        number: u8,
        payload: &'a [u8],
    ) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        match number {
            1 | 2 => self.ip(payload),
            3 => self.ethernet(payload),
            4 => self.service_header(payload),
            5 => self.mpls(payload),
            _ => Some(Content::Unread(Unread::Inside("VXLAN-GPE or NSH of an unknown kind"))),
        }
    }

    /// IEEE 802.2: IP directly, or after a SNAP header; what else there is carries none.
    fn llc<'a>(&mut self, payload: &'a [u8]) -> Option<Content<'a>> {
        match payload {
            [0x06, 0x06, 0x03, packet @ ..] => self.ip(packet),
            [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, high, low, rest @ ..] => {
                self.ether_type(u16::from_be_bytes([*high, *low]), rest)
            }
            _ => Some(Content::Other),
        }
    }

    /// Session header of six bytes, then PPP (RFC 2516).
    fn pppoe<'a>(&mut self, header: &'a [u8]) -> Option<Content<'a>> {
        self.path.enter(Layer::Pppoe(be16(header, 2)?));
        self.ppp(header.get(6..)?)
    }

    /// PPP in HDLC-like framing (RFC 1662), or Cisco's HDLC, which begins with another address.
    fn ppp_or_hdlc<'a>(&mut self, frame: &'a [u8]) -> Option<Content<'a>> {
        match frame {
            [0x0f | 0x8f, _, rest @ ..] => self.ether_type(be16(rest, 0)?, rest.get(2..)?),
            _ => self.ppp(frame),
        }
    }

    /// PPP from its protocol number on, before which address and control may stand (RFC 1661).
    pub(super) fn ppp<'a>(&mut self, frame: &'a [u8]) -> Option<Content<'a>> {
        let frame = match frame {
            [0xff, 0x03, rest @ ..] => rest,
            all => all,
        };
        // The number's first byte may be left out where it is 0: the last one is odd.
        let (protocol, payload) = if frame.first()? & 1 == 1 {
            (u16::from(*frame.first()?), frame.get(1..)?)
        } else {
            (be16(frame, 0)?, frame.get(2..)?)
        };
        match protocol {
            0x0021 | 0x0057 => self.ip(payload),
            0x0281 | 0x0283 => self.mpls(payload),
            0x002d | 0x002f => Some(Content::Unread(Unread::Inside("compressed TCP (RFC 1144)"))),
            // Network control, link control.
            0x8000.. => Some(Content::Other),
            other => Some(Content::Unread(Unread::PppProtocol(other))),
        }
    }

    /// Label stack (RFC 3032). What follows is not named: its first half byte tells.
    pub(super) fn mpls<'a>(&mut self, stack: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        let bottom = stack.chunks_exact(4).position(|label| label[2] & 1 == 1)?;
        let payload = stack.get((bottom + 1) * 4..)?;
        self.path.enter(Layer::Mpls);
        match payload.first()? >> 4 {
            4 | 6 => self.ip(payload),
            // A control word (RFC 4385), then mostly Ethernet.
            0 => self.ethernet(payload.get(4..)?),
            1 => Some(Content::Other),
            _ => Some(Content::Unread(Unread::Inside("an MPLS pseudowire"))),
        }
    }

    /// Linux's packet log: type-length-value items, of which number 9 is the packet.
    fn nflog<'a>(&mut self, frame: &'a [u8]) -> Option<Content<'a>> {
        let mut items = frame.get(4..)?;
        loop {
            // In the order of the machine that captured, which is little endian nearly everywhere.
            let [length, kind] = [be16(items, 0)?, be16(items, 2)?];
            let is_little = kind.to_be_bytes()[1] == 0;
            let [length, kind] =
                if is_little { [length.swap_bytes(), kind.swap_bytes()] } else { [length, kind] };
            let length = usize::from(length);
            if kind == 9 {
                return self.ip_or_other(items.get(4..length.min(items.len()))?);
            }
            // Padding does not count; a length below its own four bytes would never end.
            items = items.get(length.max(4).next_multiple_of(4)..)?;
        }
    }

    /// IP by its version where the header does not say what it is; else something else.
    fn ip_or_other<'a>(&mut self, packet: &'a [u8]) -> Option<Content<'a>> {
        match packet.first()? >> 4 {
            4 | 6 => self.ip(packet),
            _ => Some(Content::Other),
        }
    }
}

/// Ethertypes that are known and carry no IP.
const fn carries_no_ip(kind: u16) -> bool {
    matches!(
        kind,
        0x0806 // ARP
            | 0x0842 // wake on LAN
            | 0x22ea | 0x22eb | 0x22f0 | 0x22f3 // AVB, TRILL
            | 0x6002..=0x6007 // DECnet
            | 0x8035 // RARP
            | 0x809b | 0x80f3 // AppleTalk
            | 0x8137 | 0x8138 // IPX
            | 0x8204 // QNX
            | 0x8808 | 0x8809 // flow control, slow protocols
            | 0x8863 // PPPoE discovery
            | 0x886d | 0x887b | 0x88e1 | 0x893a // power line
            | 0x888e // EAPOL
            | 0x8892 | 0x88a4 | 0x88ab // PROFINET, EtherCAT, Powerlink
            | 0x88a2 | 0x8906 | 0x8914 // ATA, Fibre Channel
            | 0x88b7..=0x88ba // OUI extended, GOOSE, sampled values
            | 0x88bf // MikroTik RoMON
            | 0x88cc // LLDP
            | 0x88cd | 0x88e3 // SERCOS, MRP
            | 0x88f5 | 0x88f6 | 0x88f7 | 0x88fb // MVRP, MMRP, PTP, PRP
            | 0x8902 | 0x890d // CFM, TDLS
            | 0x9000 // loopback test
    )
}
