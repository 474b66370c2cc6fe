//! Addresses: which are the same, and as text.

use std::net::SocketAddr;

/// The same address, but an IPv4-mapped IPv6 address as the IPv4 address it is (RFC 4291 section
/// 2.5.5.2).
#[must_use]
pub const fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `ip:port`, as the address displays itself. Display is made for padding and takes ten times as
/// long, and each report has addresses.
#[must_use]
pub fn address_text(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else { return address.to_string() };
    let [a, b, c, d] = v4.ip().octets().map(u16::from);
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for (number, end) in [(a, "."), (b, "."), (c, "."), (d, ":"), (v4.port(), "")] {
        push_number(&mut text, number);
        text.push_str(end);
    }
    text
}

fn push_number(text: &mut String, number: u16) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.extend(char::from_digit(u32::from(number % 10), 10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_display_themselves() {
        for text in [
            "0.0.0.0:0",
            "10.200.30.9:443",
            "255.255.255.255:65535",
            "[::1]:80",
            "[::ffff:10.0.0.1]:8080",
            "[fe80::1%2]:443",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(address_text(address), address.to_string());
        }
    }
}
