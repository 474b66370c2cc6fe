use super::*;

/// Sender and receiver of the tunnels.
const OUTER: ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [192, 0, 2, 2]);

/// The TCP segment that all frames here carry, in IPv4.
pub(super) fn inner() -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 443, 7, 100)
        .write(&mut packet, b"hello")
        .unwrap();
    packet
}

/// The same in IPv6.
fn inner6() -> Vec<u8> {
    let mut packet = Vec::new();
    let [from, to] = [1, 2].map(|last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    etherparse::PacketBuilder::ipv6(from, to, 64)
        .tcp(1000, 443, 7, 100)
        .write(&mut packet, b"hello")
        .unwrap();
    packet
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[0; 12], &kind.to_be_bytes(), payload])
}

pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(OUTER.0, OUTER.1, 64)
        .write(&mut packet, etherparse::IpNumber(protocol), payload)
        .unwrap();
    packet
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .write(&mut packet, etherparse::ip_number::UDP, payload)
        .unwrap();
    packet[6] = protocol;
    packet
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(OUTER.0, OUTER.1, 64)
        .udp(50_000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

/// GRE with these flags; `options` are what they say is there.
fn gre(flags: u16, kind: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4(47, &join(&[&flags.to_be_bytes(), &kind.to_be_bytes(), options, payload]))
}

pub(super) fn found(link: u32, data: &[u8]) -> Content<'_> {
    let at = hopsight_core::model::Timestamp(1);
    content(&Frame { link: Some(link), at, data, missing: 0 })
}

/// Every frame carries the segment, inside of this path.
fn assert_found(cases: &[(&str, u32, Vec<u8>, &str)]) {
    for (name, link, frame, path) in cases {
        let Content::Tcp(segment) = found(*link, frame) else {
            panic!("{name}: {:?}", found(*link, frame));
        };
        assert_eq!((segment.payload, segment.payload_len), (&b"hello"[..], 5), "{name}");
        assert_eq!(segment.path.to_string(), *path, "{name}");
    }
}

/// An 802.1Q tag, from its identifier on, before the packet.
fn tagged(id: u16) -> Vec<u8> {
    join(&[&id.to_be_bytes(), &[8, 0], &inner()])
}

/// A session's header and the packet in PPP.
fn session() -> Vec<u8> {
    join(&[&[0x11, 0, 0, 9, 0, 47], &[0, 0x21], &inner()])
}

/// VXLAN's header and the packet in Ethernet.
fn overlay() -> Vec<u8> {
    join(&[&[8, 0, 0, 0, 0, 0, 7, 0], &ethernet(0x0800, &inner())])
}

#[test]
fn every_link_type_leads_to_the_segment() {
    let (ip, ip6) = (inner(), inner6());
    let inner_ethernet = ethernet(0x0800, &ip);
    assert_found(&[
        ("Ethernet", 1, inner_ethernet.clone(), ""),
        ("Ethernet, IPv6", 1, ethernet(0x86dd, &ip6), ""),
        ("raw", 101, ip.clone(), ""),
        ("raw of BSD", 12, ip.clone(), ""),
        ("raw of OpenBSD", 14, ip6.clone(), ""),
        ("IPv4", 228, ip.clone(), ""),
        ("IPv6", 229, ip6.clone(), ""),
        ("loopback, little endian", 0, join(&[&[2, 0, 0, 0], &ip]), ""),
        ("loopback of OpenBSD", 108, join(&[&[0, 0, 0, 24], &ip6]), ""),
        ("cooked", 113, join(&[&[0; 14], &[8, 0], &ip]), ""),
        ("cooked 2", 276, join(&[&[8, 0], &[0; 18], &ip]), ""),
        ("cooked, in a VLAN", 113, join(&[&[0; 14], &[0x81, 0], &tagged(5)]), "vlan:5"),
        ("PPP", 9, join(&[&[0xff, 3, 0, 0x21], &ip]), ""),
        ("PPP, all compressed", 9, join(&[&[0x57], &ip6]), ""),
        ("PPP in HDLC", 50, join(&[&[0xff, 3, 0, 0x57], &ip6]), ""),
        ("Cisco HDLC as PPP", 50, join(&[&[0x0f, 0, 8, 0], &ip]), ""),
        ("Cisco HDLC", 104, join(&[&[0x0f, 0, 8, 0], &ip]), ""),
        ("PPP with direction", 204, join(&[&[1, 0xff, 3, 0, 0x21], &ip]), ""),
        ("PPPoE alone", 51, session(), "pppoe:9"),
        ("IPsec of OpenBSD", 109, join(&[&[0; 12], &ip]), ""),
        ("packet filter log", 117, join(&[&[61, 2], &[0; 62], &ip]), ""),
        ("IPNET", 226, join(&[&[0; 24], &ip]), ""),
        ("FireWire", 138, join(&[&[0; 16], &[8, 0], &ip]), ""),
        ("InfiniBand", 242, join(&[&[0; 40], &[8, 0, 0, 0], &ip]), ""),
        ("per-packet information", 192, join(&[&[0, 0, 8, 0, 1, 0, 0, 0], &inner_ethernet]), ""),
        (
            "Apple's packet tap",
            258,
            join(&[&[12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], &inner_ethernet]),
            "",
        ),
        (
            "netfilter log",
            239,
            join(&[
                &[2, 0, 0, 0, 5, 0, 10, 0, b'x', 0, 0, 0],
                &[u8::try_from(ip.len() + 4).unwrap(), 0, 9, 0],
                &ip,
            ]),
            "",
        ),
        (
            "netfilter log, big endian",
            239,
            join(&[
                &[2, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0],
                &[0, u8::try_from(ip.len() + 4).unwrap(), 0, 9],
                &ip,
            ]),
            "",
        ),
    ]);
}

#[test]
fn every_tag_and_header_of_ethernet_leads_to_the_segment() {
    let ip = inner();
    let inner_ethernet = ethernet(0x0800, &ip);
    assert_found(&[
        ("SNAP", 1, ethernet(60, &join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip])), ""),
        ("VLAN", 1, ethernet(0x8100, &tagged(100)), "vlan:100"),
        ("VLAN for its priority", 1, ethernet(0x8100, &tagged(0xe000)), ""),
        (
            "802.1ad",
            1,
            ethernet(0x88a8, &join(&[&[0, 100, 0x81, 0], &tagged(200)])),
            "vlan:100/vlan:200",
        ),
        (
            "old QinQ",
            1,
            ethernet(0x9100, &join(&[&[0, 100, 0x91, 0], &tagged(200)])),
            "vlan:100/vlan:200",
        ),
        ("Cisco MetaData", 1, ethernet(0x8909, &join(&[&[1, 1, 0, 1, 0, 5, 8, 0], &ip])), ""),
        (
            "provider backbone",
            1,
            ethernet(0x88e7, &join(&[&[0, 0, 0, 44], &inner_ethernet])),
            "pbb:44",
        ),
        (
            "MACsec for integrity",
            1,
            ethernet(0x88e5, &join(&[&[0x20, 0], &[0; 12], &[8, 0], &ip])),
            "",
        ),
        ("PPPoE", 1, ethernet(0x8864, &session()), "pppoe:9"),
        ("MPLS", 1, ethernet(0x8847, &join(&[&[0, 1, 0, 9, 0, 1, 1, 9], &ip])), "mpls"),
        (
            "MPLS, Ethernet with a control word",
            1,
            ethernet(0x8847, &join(&[&[0, 1, 1, 9, 0, 0, 0, 0], &inner_ethernet])),
            "mpls",
        ),
    ]);
}

#[test]
fn every_tunnel_over_udp_leads_to_the_segment() {
    let (ip, ip6) = (inner(), inner6());
    let inner_ethernet = ethernet(0x0800, &ip);
    assert_found(&[
        ("VXLAN", 101, udp(4789, &overlay()), "vxlan:7"),
        ("VXLAN of Linux", 101, udp(8472, &overlay()), "vxlan:7"),
        ("VXLAN-GPE, IPv4", 101, udp(4790, &join(&[&[0x0c, 0, 0, 1, 0, 0, 7, 0], &ip])), "vxlan:7"),
        (
            "VXLAN-GPE, service header, Ethernet",
            101,
            udp(
                4790,
                &join(&[&[0x0c, 0, 0, 4, 0, 0, 7, 0], &[0, 2, 1, 3], &[0; 4], &inner_ethernet]),
            ),
            "vxlan:7",
        ),
        (
            "GENEVE with options",
            101,
            udp(6081, &join(&[&[2, 0, 0x65, 0x58, 0, 0, 9, 0], &[0; 8], &inner_ethernet])),
            "geneve:9",
        ),
        (
            "GENEVE, IPv6",
            101,
            udp(6081, &join(&[&[0, 0, 0x86, 0xdd, 0, 0, 9, 0], &ip6])),
            "geneve:9",
        ),
    ]);
}

#[test]
fn every_tunnel_over_ip_leads_to_the_segment() {
    let (ip, ip6) = (inner(), inner6());
    let inner_ethernet = ethernet(0x0800, &ip);
    assert_found(&[
        ("GRE", 101, gre(0, 0x0800, &[], &ip), "gre:192.0.2.1-192.0.2.2"),
        (
            "GRE with checksum, key and sequence number",
            101,
            gre(0xb000, 0x86dd, &[1, 1, 0, 0, 0, 0, 0, 42, 0, 0, 0, 3], &ip6),
            "gre:192.0.2.1-192.0.2.2#42",
        ),
        ("GRE, Ethernet", 101, gre(0, 0x6558, &[], &inner_ethernet), "gre:192.0.2.1-192.0.2.2"),
        ("GRE, WCCP", 101, gre(0, 0x883e, &[0, 1, 2, 3], &ip), "gre:192.0.2.1-192.0.2.2"),
        (
            "GRE, PPTP",
            101,
            gre(0x3081, 0x880b, &[0, 9, 0, 1, 0, 0, 0, 5, 0, 0, 0, 4], &join(&[&[0x21], &ip])),
            "pptp:192.0.2.1-192.0.2.2",
        ),
        ("ERSPAN I", 101, gre(0, 0x88be, &[], &inner_ethernet), "erspan:0"),
        (
            "ERSPAN II",
            101,
            gre(
                0x1000,
                0x88be,
                &[0, 0, 0, 1],
                &join(&[&[0x10, 5, 0, 77, 0, 0, 0, 0], &inner_ethernet]),
            ),
            "erspan:77",
        ),
        (
            "ERSPAN III with more",
            101,
            gre(
                0x1000,
                0x22eb,
                &[0, 0, 0, 1],
                &join(&[&[0x20, 5, 0, 77, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 8], &inner_ethernet]),
            ),
            "erspan:77",
        ),
        ("IP in IP", 101, ipv4(4, &ip), "ipip:192.0.2.1-192.0.2.2"),
        ("6in4", 101, ipv4(41, &ip6), "6in4:192.0.2.1-192.0.2.2"),
        (
            "4in6",
            101,
            ipv6(4, &ip),
            "4in6:101:101:101:101:101:101:101:101-202:202:202:202:202:202:202:202",
        ),
        (
            "6in6",
            101,
            ipv6(41, &ip6),
            "6in6:101:101:101:101:101:101:101:101-202:202:202:202:202:202:202:202",
        ),
        (
            "Ethernet in IP",
            101,
            ipv4(97, &join(&[&[0x30, 0], &inner_ethernet])),
            "etherip:192.0.2.1-192.0.2.2",
        ),
        ("MPLS in IP", 101, ipv4(137, &join(&[&[0, 1, 1, 9], &ip])), "mpls"),
        ("authentication header", 101, ipv4(51, &join(&[&[6, 4], &[0; 22], &ip[20..]])), ""),
        (
            "IPv6 extension headers",
            101,
            ipv6(0, &join(&[&[60, 0, 1, 4, 0, 0, 0, 0], &[6, 0, 1, 4, 0, 0, 0, 0], &ip[20..]])),
            "",
        ),
        (
            "everything at once",
            1,
            ethernet(0x8100, &join(&[&[0, 5, 8, 0], &udp(4789, &overlay())])),
            "vlan:5/vxlan:7",
        ),
    ]);
}

#[test]
fn what_is_not_read_is_said_and_what_carries_no_tcp_is_not() {
    let ip = inner();
    for (name, link, frame, expected) in [
        ("ARP", 1, ethernet(0x0806, &[0; 28]), None),
        ("spanning tree", 1, ethernet(38, &[0x42, 0x42, 3, 0]), None),
        ("ICMP", 101, ipv4(1, &[0; 8]), None),
        ("DNS", 101, udp(53, &[0; 12]), None),
        ("GTP-U's echo", 101, udp(2152, &[0x32, 1, 0, 4, 0, 0, 0, 0]), None),
        ("IKE", 101, udp(4500, &[0; 40]), None),
        ("loopback of another family", 0, vec![7, 0, 0, 0, 0x81, 0], None),
        ("PPP's control", 9, vec![0xff, 3, 0xc0, 0x21, 1], None),
        ("user's link type", 147, ip.clone(), Some(Unread::LinkType(147))),
        ("unknown ethertype", 1, ethernet(0x1234, &ip), Some(Unread::EtherType(0x1234))),
        ("unknown IP protocol", 101, ipv4(200, &ip), Some(Unread::IpProtocol(200))),
        ("GTP-U", 101, udp(2152, &join(&[&[0x30, 255, 0, 0, 0, 0, 0, 1], &ip])), {
            Some(Unread::Inside("GTP-U"))
        }),
        ("VXLAN without a network", 101, udp(8472, &[0; 40]), {
            Some(Unread::Inside("VXLAN without a network"))
        }),
        ("ESP", 101, ipv4(50, &ip), Some(Unread::Inside("ESP"))),
        ("ESP in UDP", 101, udp(4500, &[1; 40]), Some(Unread::Inside("ESP"))),
        ("L2TP", 101, udp(1701, &[0x02, 0x02, 0, 1]), Some(Unread::Inside("L2TP"))),
        ("encrypted MACsec", 1, ethernet(0x88e5, &[0x2c; 40]), Some(Unread::Inside("MACsec"))),
        ("unknown PPP protocol", 9, vec![0xff, 3, 0, 0x3d, 0], Some(Unread::PppProtocol(0x3d))),
        ("short Ethernet", 1, vec![0; 13], Some(Unread::Header)),
        ("short IP", 101, ip[..19].to_vec(), Some(Unread::Header)),
        ("short TCP", 101, ip[..33].to_vec(), Some(Unread::Header)),
        ("no IP version", 101, vec![0x90; 40], Some(Unread::Header)),
    ] {
        match (found(link, &frame), expected) {
            (Content::Other, None) => {}
            (Content::Unread(why), Some(expected)) => assert_eq!(why, expected, "{name}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
    let unknown =
        Frame { link: None, at: hopsight_core::model::Timestamp(1), data: &ip, missing: 0 };
    assert_eq!(content(&unknown), Content::Unread(Unread::Interface));
}

#[test]
fn wrappings_without_end_are_given_up() {
    let mut frame = inner();
    for _ in 0..MAX_DEPTH {
        frame = ipv4(4, &frame);
    }
    assert_eq!(found(101, &frame), Content::Unread(Unread::Depth));
}

#[test]
fn a_header_cut_behind_its_flags_is_enough() {
    let ip = inner();
    // As `tcpdump -s 54` leaves it, with options that are no longer there.
    let mut with_options = ip[..40].to_vec();
    with_options[32] = 8 << 4;
    with_options[2..4].copy_from_slice(&57_u16.to_be_bytes());
    for (name, data, missing, length) in
        [("fixed header", &ip[..40], 5, 5), ("options cut", &with_options, 17, 5)]
    {
        let at = hopsight_core::model::Timestamp(1);
        let Content::Tcp(segment) = content(&Frame { link: Some(101), at, data, missing }) else {
            panic!("{name}");
        };
        assert_eq!((segment.payload, segment.payload_len), (&b""[..], length), "{name}");
    }
}

#[test]
fn a_packet_without_a_length_is_as_long_as_it_was_on_the_wire() {
    let mut ip = inner();
    ip[2..4].fill(0);
    let at = hopsight_core::model::Timestamp(1);
    let frame = Frame { link: Some(101), at, data: &ip[..42], missing: 63_003 };
    let Content::Tcp(segment) = content(&frame) else { panic!("TCP") };
    assert_eq!((segment.payload, segment.payload_len), (&b"he"[..], 63_005));
}
