//! What is not looked into, although TCP may be in it.

/// Why a packet was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unread {
    /// It is inside of this, which is encrypted or not known.
    Inside(&'static str),
    /// The frame's link type is not known.
    LinkType(u32),
    /// What its Ethernet (or alike) header names is not known.
    EtherType(u16),
    /// What its PPP header names is not known.
    PppProtocol(u16),
    /// What its IP header names is not known.
    IpProtocol(u8),
    /// A part of an IP datagram of which other parts are missing.
    Fragment,
    /// A header is cut short or contradicts itself.
    Header,
    /// More headers inside one another than are followed.
    Depth,
    /// It was captured at an interface that the file does not describe.
    Interface,
}

impl Unread {
    /// In words, of `count` such packets; `first` also says of how many packets in all.
    #[must_use]
    pub fn told(self, count: u64, all: u64, first: bool) -> String {
        let of = if first { format!(" of {all}") } else { String::new() };
        let [packets, are, have, belong] = if first || count != 1 {
            let packets = if first { " packets" } else { "" };
            [packets, "are", "have", "belong"]
        } else {
            ["", "is", "has", "belongs"]
        };
        let these = format!("{count}{of}{packets}");
        match self {
            Self::Inside(what) => format!("{these} {are} inside {what}, which is not read"),
            Self::LinkType(number) => {
                let s = if count == 1 { "" } else { "s" };
                format!("link type {number} is not read ({count} packet{s})")
            }
            Self::EtherType(number) => {
                format!("{these} {are} of ethertype 0x{number:04x}, which is not read")
            }
            Self::PppProtocol(number) => {
                format!("{these} {are} of PPP protocol 0x{number:04x}, which is not read")
            }
            Self::IpProtocol(number) => {
                format!("{these} {are} of IP protocol {number}, which is not read")
            }
            Self::Fragment => {
                format!("{these} {are} IP fragments whose other parts are missing")
            }
            Self::Header => {
                format!("{these} {have} headers that are cut short or contradict themselves")
            }
            Self::Depth => format!("{these} {are} inside more headers than are followed"),
            Self::Interface => {
                format!("{these} {belong} to interfaces that the file does not describe")
            }
        }
    }
}
