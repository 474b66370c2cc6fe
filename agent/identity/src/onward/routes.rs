//! The interface by which packets leave, by the main table of a network namespace.
//!
//! Rules that choose another table (ip-rule(8)) are not seen: what they would send into a tunnel
//! is then not known to be encrypted.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The interface for `to` in the text of `/proc/PID/net/route`: of the longest prefix, then of the
/// lowest metric. Addresses there are in hexadecimal, in the machine's order of bytes.
pub(super) fn v4(text: &str, to: Ipv4Addr) -> Option<String> {
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::from_be);
    let routes = text.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let &[interface, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        let (destination, mask) = (address(destination)?, address(mask)?);
        let is_up = is_up(u32::from_str_radix(flags, 16).ok()?);
        let matches = is_up && to.to_bits() & mask == destination;
        matches.then(|| (mask.count_ones(), metric.parse::<u32>().ok(), interface))
    });
    best(routes)
}

/// The same in the text of `/proc/PID/net/ipv6_route`, whose addresses are in network order.
pub(super) fn v6(text: &str, to: Ipv6Addr) -> Option<String> {
    let routes = text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let &[destination, length, _, _, _, metric, _, _, flags, interface] = fields.as_slice()
        else {
            return None;
        };
        let destination = u128::from_str_radix(destination, 16).ok()?;
        let length = u32::from_str_radix(length, 16).ok().filter(|length| *length <= 128)?;
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let is_up = is_up(u32::from_str_radix(flags, 16).ok()?);
        let matches = is_up && to.to_bits() & mask == destination & mask;
        matches.then(|| (length, u32::from_str_radix(metric, 16).ok(), interface))
    });
    best(routes)
}

/// `RTF_UP` and not `RTF_REJECT` (linux/route.h).
const fn is_up(flags: u32) -> bool {
    flags & 0x1 != 0 && flags & 0x200 == 0
}

fn best<'a>(routes: impl Iterator<Item = (u32, Option<u32>, &'a str)>) -> Option<String> {
    let best = routes.max_by_key(|(length, metric, _)| (*length, std::cmp::Reverse(*metric)));
    best.map(|(_, _, interface)| interface.to_owned())
}
