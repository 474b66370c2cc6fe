//! What a packet is inside of: where it was seen, beside its addresses.

use std::{fmt, net::IpAddr};

/// The two ends of a tunnel, the smaller address first: its two directions are one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends(IpAddr, IpAddr);

impl Ends {
    /// Of a packet from `a` to `b`, or back.
    pub fn new(a: IpAddr, b: IpAddr) -> Self {
        if a <= b { Self(a, b) } else { Self(b, a) }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// One wrapping, with what tells it from others of its kind. Equal addresses in different ones are
/// different connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// IEEE 802.1Q tag, whatever its ethertype.
    Vlan(u16),
    /// Provider backbone bridge (IEEE 802.1ah), by its service instance.
    Backbone(u32),
    /// PPP over Ethernet (RFC 2516), by its session.
    Pppoe(u16),
    /// MPLS (RFC 3032). Its labels differ between the directions and tell nothing apart.
    Mpls,
    /// VXLAN (RFC 7348) or its generic extension, by its network. The ends do not count: an overlay
    /// is one network, and its machines come and go.
    Vxlan(u32),
    /// GENEVE (RFC 8926), by its network.
    Geneve(u32),
    /// GRE (RFC 2784, 2890), by its ends and key.
    Gre(Ends, Option<u32>),
    /// A mirrored port (ERSPAN), by its session.
    Erspan(u16),
    /// PPP in enhanced GRE (PPTP, RFC 2637), by its ends.
    Pptp(Ends),
    /// Ethernet in IP (RFC 3378), by its ends.
    EtherIp(Ends),
    /// IP in IP (RFC 2003, 2473, 4213), by its ends.
    Ip {
        /// Ends of the tunnel.
        ends: Ends,
        /// The inner version is 6.
        inner_v6: bool,
    },
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(id) => write!(f, "vlan:{id}"),
            Self::Backbone(instance) => write!(f, "pbb:{instance}"),
            Self::Pppoe(session) => write!(f, "pppoe:{session}"),
            Self::Mpls => write!(f, "mpls"),
            Self::Vxlan(network) => write!(f, "vxlan:{network}"),
            Self::Geneve(network) => write!(f, "geneve:{network}"),
            Self::Gre(ends, None) => write!(f, "gre:{ends}"),
            Self::Gre(ends, Some(key)) => write!(f, "gre:{ends}#{key}"),
            Self::Erspan(session) => write!(f, "erspan:{session}"),
            Self::Pptp(ends) => write!(f, "pptp:{ends}"),
            Self::EtherIp(ends) => write!(f, "etherip:{ends}"),
            Self::Ip { ends, inner_v6 } => {
                let word = match (ends.0.is_ipv6(), inner_v6) {
                    (false, false) => "ipip",
                    (false, true) => "6in4",
                    (true, false) => "4in6",
                    (true, true) => "6in6",
                };
                write!(f, "{word}:{ends}")
            }
        }
    }
}

/// Everything that a packet is inside of, outermost first; empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Layer>);

impl Path {
    /// One layer further in.
    pub fn enter(&mut self, layer: Layer) {
        self.0.push(layer);
    }

    /// Layers.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The packet is inside of nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The layers with `/` between them, such as `vlan:100/vlan:200` or `vxlan:7`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, layer) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "/" };
            write!(f, "{between}{layer}")?;
        }
        Ok(())
    }
}
