//! From a captured frame to its TCP segment.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_file::DataLink;

/// A TCP segment as found in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are the TCP flags")]
pub struct TcpSegment<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number of the first payload byte (of the SYN itself, if it is one).
    pub sequence: u32,
    /// The byte that its sender expects next; meaningful with the ACK flag.
    pub acknowledgment: u32,
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

mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    pub const VLAN: u16 = 0x8100;
    pub const PROVIDER_BRIDGE: u16 = 0x88a8;
    pub const PPPOE_SESSION: u16 = 0x8864;
    pub const MPLS: u16 = 0x8847;
}

/// UDP port of VXLAN (RFC 7348 section 5).
const VXLAN_PORT: u16 = 4789;
/// Encapsulations followed inside one another.
const MAX_DEPTH: usize = 4;

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The TCP segment in a frame of this link type; `None` if there is none that can be read.
#[must_use]
pub fn tcp_segment(link: DataLink, frame: &[u8]) -> Option<TcpSegment<'_>> {
    match link {
        DataLink::ETHERNET => ethernet(frame, 0),
        // 12 and 14 are raw IP, as OpenBSD and older libpcap number it.
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 | DataLink::Unknown(12 | 14) => {
            ip(frame, 0)
        }
        // BSD loopback: a four-byte address family in the host's order, then IP.
        DataLink::NULL | DataLink::LOOP => ip(frame.get(4..)?, 0),
        DataLink::LINUX_SLL => ether_payload(be16(frame, 14)?, frame.get(16..)?, 0),
        DataLink::LINUX_SLL2 => ether_payload(be16(frame, 0)?, frame.get(20..)?, 0),
        _ => None,
    }
}

fn ethernet(frame: &[u8], depth: usize) -> Option<TcpSegment<'_>> {
    ether_payload(be16(frame, 12)?, frame.get(14..)?, depth)
}

fn ether_payload(kind: u16, payload: &[u8], depth: usize) -> Option<TcpSegment<'_>> {
    if depth > MAX_DEPTH {
        return None;
    }
    match kind {
        ether_type::IPV4 | ether_type::IPV6 => ip(payload, depth),
        ether_type::VLAN | ether_type::PROVIDER_BRIDGE => {
            ether_payload(be16(payload, 2)?, payload.get(4..)?, depth + 1)
        }
        // Session header of six bytes, then the PPP protocol: IPv4 0x0021, IPv6 0x0057.
        ether_type::PPPOE_SESSION => match be16(payload, 6)? {
            0x0021 | 0x0057 => ip(payload.get(8..)?, depth + 1),
            _ => None,
        },
        ether_type::MPLS => {
            let bottom = payload.chunks_exact(4).position(|label| label[2] & 1 == 1)?;
            ip(payload.get((bottom + 1) * 4..)?, depth + 1)
        }
        _ => None,
    }
}

fn ip(packet: &[u8], depth: usize) -> Option<TcpSegment<'_>> {
    let sliced = LaxSlicedPacket::from_ip(packet).ok()?;
    let (source, destination, datagram): (IpAddr, IpAddr, usize) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(v4) => {
            let header = v4.header();
            // 0 stands for "longer than fits": segmentation was left to the network card.
            let length = match usize::from(header.total_len()) {
                0 => packet.len(),
                length => length,
            };
            let body = length.checked_sub(usize::from(header.ihl()) * 4)?;
            (header.source_addr().into(), header.destination_addr().into(), body)
        }
        LaxNetSlice::Ipv6(v6) => {
            let header = v6.header();
            let body = match usize::from(header.payload_length()) {
                0 => packet.len().checked_sub(40)?,
                length => length,
            };
            let extensions = v6.extensions().slice().len();
            let body = body.checked_sub(extensions)?;
            (header.source_addr().into(), header.destination_addr().into(), body)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    match sliced.transport? {
        TransportSlice::Tcp(tcp) => {
            let payload_len = datagram.checked_sub(usize::from(tcp.data_offset()) * 4)?;
            // Short frames are padded: bytes beyond the datagram are not payload.
            let payload = &tcp.payload()[..tcp.payload().len().min(payload_len)];
            Some(TcpSegment {
                source: (source, tcp.source_port()).into(),
                destination: (destination, tcp.destination_port()).into(),
                sequence: tcp.sequence_number(),
                acknowledgment: tcp.acknowledgment_number(),
                syn: tcp.syn(),
                ack: tcp.ack(),
                fin: tcp.fin(),
                rst: tcp.rst(),
                payload_len: u32::try_from(payload_len).ok()?,
                payload,
            })
        }
        TransportSlice::Udp(udp) if udp.destination_port() == VXLAN_PORT && depth < MAX_DEPTH => {
            ethernet(udp.payload().get(8..)?, depth + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_type_of_linux_leads_to_the_segment() {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1000, 443, 7, 100)
            .write(&mut packet, b"hello")
            .unwrap();
        let behind = |header: &[u8]| [header, &packet].concat();
        let ethernet = [&[0; 12][..], &[8, 0]].concat();
        // `tcpdump -i any`: of the first and of the second kind.
        let cooked = [&[0; 14][..], &[8, 0]].concat();
        let cooked2 = [&[8, 0][..], &[0; 18]].concat();
        for (number, frame) in [
            (1, behind(&ethernet)),
            (12, packet.clone()),
            (101, packet.clone()),
            (113, behind(&cooked)),
            (276, behind(&cooked2)),
        ] {
            let segment = tcp_segment(DataLink::from(number), &frame);
            let payload = segment.map(|segment| segment.payload);
            assert_eq!(payload, Some(&b"hello"[..]), "link type {number}");
        }
    }
}
