//! IP and the TCP inside it.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxIpSlice, ip_number};

use super::{Content, Fragment, Layer, TcpSegment, Unread, Walk, be16, be32, layer::Ends};

/// Bytes of a TCP header that have to be there: what follows is window, checksum and options, which
/// `tcpdump -s 68` cuts off.
const TCP_NEEDED: usize = 14;

impl Walk {
    /// An IP packet of either version.
    pub(super) fn ip<'a>(&mut self, packet: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        let (ip, trouble) = LaxIpSlice::from_slice(packet).ok()?;
        if trouble.is_some() {
            return None;
        }
        // A length of 0 stands for "longer than fits": segmentation was left to the network card.
        let (header, length) = match &ip {
            LaxIpSlice::Ipv4(v4) => {
                let header = v4.header();
                (header.slice().len(), usize::from(header.total_len()))
            }
            LaxIpSlice::Ipv6(v6) => match usize::from(v6.header().payload_length()) {
                0 => (40, 0),
                length => (40, 40 + length),
            },
        };
        let length = if length < header { packet.len() + self.missing } else { length };
        let payload = ip.payload();
        let headers = packet.len().min(length).checked_sub(payload.payload.len())?;
        let ends = (ip.source_addr(), ip.destination_addr());
        if payload.fragmented {
            return Some(if payload.incomplete {
                Content::Unread(Unread::Fragment)
            } else {
                fragment(&ip, self)
            });
        }
        self.transport(payload.ip_number, ends, (payload.payload, length.checked_sub(headers)?))
    }

    /// What an IP packet of this protocol carries: the captured bytes, and how many there were.
    pub(super) fn transport<'a>(
        &mut self,
        protocol: IpNumber,
        (source, destination): (IpAddr, IpAddr),
        (payload, length): (&'a [u8], usize),
    ) -> Option<Content<'a>> {
        let ends = || Ends::new(source, destination);
        let unread = |unread| Some(Content::Unread(unread));
        match protocol {
            ip_number::TCP => self.tcp((source, destination), (payload, length)),
            ip_number::UDP => self.udp(payload),
            ip_number::IPV4 | ip_number::IPV6 => {
                let inner_v6 = protocol == ip_number::IPV6;
                self.path.enter(Layer::Ip { ends: ends(), inner_v6 });
                self.ip(payload)
            }
            ip_number::GRE => self.gre(ends(), payload),
            ip_number::ETHER_IP => {
                self.path.enter(Layer::EtherIp(ends()));
                self.descend().then(|| self.ethernet(payload.get(2..)?)).flatten()
            }
            ip_number::MPLS_IN_IP => self.mpls(payload),
            ip_number::ENCAP_SEC => unread(Unread::Inside("ESP")),
            ip_number::LAYER2_TUNNELING_PROTOCOL => unread(Unread::Inside("L2TP")),
            ip_number::IP_COMP => unread(Unread::Inside("IPComp")),
            IpNumber(number) if carries_no_tcp(number) => Some(Content::Other),
            IpNumber(number) => unread(Unread::IpProtocol(number)),
        }
    }

    fn tcp<'a>(
        &mut self,
        (source, destination): (IpAddr, IpAddr),
        (segment, length): (&'a [u8], usize),
    ) -> Option<Content<'a>> {
        let header: &[u8; TCP_NEEDED] = segment.first_chunk()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        let payload_len = length.checked_sub(header_len)?;
        if header_len < 20 {
            return None;
        }
        let payload = segment.get(header_len..).unwrap_or_default();
        let flag = |bit: u8| header[13] & bit != 0;
        Some(Content::Tcp(TcpSegment {
            path: std::mem::take(&mut self.path),
            source: (source, be16(header, 0)?).into(),
            destination: (destination, be16(header, 2)?).into(),
            sequence: be32(header, 4)?,
            acknowledged: be32(header, 8)?,
            syn: flag(0x02),
            ack: flag(0x10),
            fin: flag(0x01),
            rst: flag(0x04),
            payload_len: u32::try_from(payload_len).ok()?,
            // Short frames are padded: bytes beyond the datagram are not payload.
            payload: &payload[..payload.len().min(payload_len)],
        }))
    }
}

fn fragment<'a>(ip: &LaxIpSlice<'a>, walk: &mut Walk) -> Content<'a> {
    let (identification, offset, more) = match ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            (header.identification().into(), header.fragments_offset(), header.more_fragments())
        }
        LaxIpSlice::Ipv6(v6) => v6
            .extensions()
            .clone()
            .into_iter()
            .find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(header) => Some((
                    header.identification(),
                    header.fragment_offset(),
                    header.more_fragments(),
                )),
                _ => None,
            })
            .unwrap_or((0, IpFragOffset::ZERO, false)),
    };
    let payload = ip.payload();
    Content::Fragment(Fragment {
        path: std::mem::take(&mut walk.path),
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        protocol: payload.ip_number,
        identification,
        offset,
        more,
        payload: payload.payload,
    })
}

/// IP protocols that are known and carry no TCP: routing and group membership, other transports,
/// and the end of an IPv6 packet.
const fn carries_no_tcp(number: u8) -> bool {
    matches!(
        number,
        1..=3 | 5 | 7..=9 | 11..=33 | 46 | 58 | 59 | 85..=89 | 103 | 112 | 131..=136 | 139 | 140
    )
}
