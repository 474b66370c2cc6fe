//! Tunnels over UDP and GRE.

use super::{Content, Layer, Unread, Walk, be16, be24, be32, layer::Ends};

/// UDP ports of tunnels (IANA's service names, where not said otherwise).
mod port {
    pub const L2TP: u16 = 1701;
    pub const GTP_U: u16 = 2152;
    pub const TEREDO: u16 = 3544;
    pub const LISP: u16 = 4341;
    pub const IPSEC_NAT: u16 = 4500;
    pub const GRE_IN_UDP: u16 = 4754;
    pub const VXLAN: u16 = 4789;
    pub const VXLAN_GPE: u16 = 4790;
    pub const CAPWAP_DATA: u16 = 5247;
    pub const GENEVE: u16 = 6081;
    pub const SFLOW: u16 = 6343;
    pub const MPLS_IN_UDP: u16 = 6635;
    /// VXLAN as Linux had it before IANA's number: flannel and Cilium still do.
    pub const VXLAN_LINUX: u16 = 8472;
    pub const TZSP: u16 = 37008;
    /// `WireGuard` by habit.
    pub const WIREGUARD: u16 = 51820;
}

/// GRE flags (RFC 2784, 2890, 2637).
mod gre_flag {
    pub const CHECKSUM: u16 = 0x8000;
    pub const ROUTING: u16 = 0x4000;
    pub const KEY: u16 = 0x2000;
    pub const SEQUENCE: u16 = 0x1000;
    pub const ACKNOWLEDGEMENT: u16 = 0x0080;
    pub const VERSION: u16 = 0x0007;
}

impl Walk {
    /// A UDP datagram: a tunnel by its destination port, or nothing with TCP in it.
    pub(super) fn udp<'a>(&mut self, datagram: &'a [u8]) -> Option<Content<'a>> {
        let ends = [be16(datagram, 0)?, be16(datagram, 2)?];
        let payload = datagram.get(8..).unwrap_or_default();
        let first = payload.first();
        let inside = |what| Some(Content::Unread(Unread::Inside(what)));
        match ends[1] {
            port::VXLAN | port::VXLAN_LINUX | port::VXLAN_GPE => self.vxlan(payload),
            port::GENEVE => self.geneve(payload),
            port::MPLS_IN_UDP => self.mpls(payload),
            port::GTP_U if is_gtp_data(payload) => inside("GTP-U"),
            port::LISP => inside("LISP"),
            port::SFLOW if payload.starts_with(&[0, 0, 0]) => inside("samples of sFlow"),
            port::CAPWAP_DATA => inside("CAPWAP"),
            port::TZSP => inside("TZSP"),
            port::GRE_IN_UDP => inside("GRE in UDP"),
            // What is no key exchange (four zero bytes) and no keep-alive.
            port::IPSEC_NAT if payload.len() > 4 && payload[..4] != [0; 4] => inside("ESP"),
            port::WIREGUARD if matches!(payload, [4, 0, 0, 0, ..]) => inside("WireGuard"),
            // The rest answers to whatever port it was asked from.
            _ if ends.contains(&port::L2TP) && first.is_some_and(|first| first & 0x80 == 0) => {
                inside("L2TP")
            }
            _ if ends.contains(&port::TEREDO)
                && first.is_some_and(|first| first >> 4 == 6 || *first == 0) =>
            {
                inside("Teredo")
            }
            _ => Some(Content::Other),
        }
    }

    /// VXLAN, or with the P flag its generic extension, which names what follows.
    fn vxlan<'a>(&mut self, header: &'a [u8]) -> Option<Content<'a>> {
        let [flags, next] = [*header.first()?, *header.get(3)?];
        if flags & 0x08 == 0 {
            return Some(Content::Unread(Unread::Inside("VXLAN without a network")));
        }
        self.path.enter(Layer::Vxlan(be24(header, 4)?));
        let payload = header.get(8..)?;
        let next = if flags & 0x04 == 0 { 3 } else { next };
        self.next_protocol(next, payload)
    }

    /// GENEVE (RFC 8926 section 3.4): options are passed over.
    fn geneve<'a>(&mut self, header: &'a [u8]) -> Option<Content<'a>> {
        if header.first()? >> 6 != 0 {
            return Some(Content::Unread(Unread::Inside("GENEVE of an unknown version")));
        }
        let options = usize::from(header.first()? & 0x3f) * 4;
        self.path.enter(Layer::Geneve(be24(header, 4)?));
        self.ether_type(be16(header, 2)?, header.get(8 + options..)?)
    }

    /// GRE, version 0 or that of PPTP.
    pub(super) fn gre<'a>(&mut self, ends: Ends, header: &'a [u8]) -> Option<Content<'a>> {
        let [flags, kind] = [be16(header, 0)?, be16(header, 2)?];
        let has = |flag: u16| flags & flag != 0;
        if has(gre_flag::ROUTING) {
            return Some(Content::Unread(Unread::Inside("GRE with source routes (RFC 1701)")));
        }
        let mut at = 4 + usize::from(has(gre_flag::CHECKSUM)) * 4;
        let key = if has(gre_flag::KEY) { Some(be32(header, at)?) } else { None };
        at += usize::from(key.is_some()) * 4;
        at += usize::from(has(gre_flag::SEQUENCE)) * 4;
        match (flags & gre_flag::VERSION, kind) {
            (1, _) => {
                at += usize::from(has(gre_flag::ACKNOWLEDGEMENT)) * 4;
                let payload = header.get(at..)?;
                self.path.enter(Layer::Pptp(ends));
                // An acknowledgement alone carries nothing.
                if payload.is_empty() { Some(Content::Other) } else { self.ppp(payload) }
            }
            (0, 0x88be) => self.erspan(has(gre_flag::SEQUENCE), header.get(at..)?),
            (0, 0x22eb) => self.erspan_3(header.get(at..)?),
            // A keep-alive.
            (0, 0) => Some(Content::Other),
            (0, kind) => {
                self.path.enter(Layer::Gre(ends, key));
                let payload = header.get(at..)?;
                // WCCP: version 2 has a header of its own of four bytes.
                let [kind, skipped] = match (kind, payload.first()? >> 4) {
                    (0x883e, 4) => [0x0800, 0],
                    (0x883e, _) => [0x0800, 4],
                    _ => [kind, 0],
                };
                self.ether_type(kind, payload.get(usize::from(skipped)..)?)
            }
            _ => Some(Content::Unread(Unread::Inside("GRE of an unknown version"))),
        }
    }

    /// ERSPAN: type II has a header, type I (without sequence numbers) has none.
    fn erspan<'a>(&mut self, has_header: bool, payload: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        if !has_header {
            self.path.enter(Layer::Erspan(0));
            return self.ethernet(payload);
        }
        self.path.enter(Layer::Erspan(be16(payload, 2)? & 0x03ff));
        self.ethernet(payload.get(8..)?)
    }

    /// ERSPAN type III: twelve bytes, and eight more where the last bit of them says so.
    fn erspan_3<'a>(&mut self, payload: &'a [u8]) -> Option<Content<'a>> {
        if !self.descend() {
            return Some(Content::Unread(Unread::Depth));
        }
        self.path.enter(Layer::Erspan(be16(payload, 2)? & 0x03ff));
        let length = if payload.get(11)? & 1 == 1 { 20 } else { 12 };
        self.ethernet(payload.get(length..)?)
    }
}

/// Version 1, a G-PDU (3GPP TS 29.281 section 5.1).
const fn is_gtp_data(payload: &[u8]) -> bool {
    matches!(payload, [0x30..=0x3f, 0xff, ..])
}
