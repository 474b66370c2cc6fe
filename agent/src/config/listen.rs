//! Addresses to listen at.

use std::net::{SocketAddr, ToSocketAddrs as _};

use serde::{Deserialize as _, Deserializer, de::Error as _};

/// An address and port, or a name such as `localhost` and a port. Of a name's addresses that of IPv4
/// is taken, if there is one, as in the default.
///
/// # Errors
/// When there is no port, or the name has no address.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = text.to_socket_addrs().map_err(|error| {
        format!("invalid socket address: {error}; write ADDRESS:PORT, such as 127.0.0.1:9464")
    })?;
    let found: Vec<SocketAddr> = found.collect();
    let best = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    best.copied().ok_or_else(|| "the name has no address".to_owned())
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    listen_address(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_for_the_addresses_they_have() {
        for (text, address) in [
            ("127.0.0.1:9464", Some("127.0.0.1:9464")),
            ("[::1]:9464", Some("[::1]:9464")),
            ("localhost:9464", Some("127.0.0.1:9464")),
            ("localhost", None),
            ("127.0.0.1", None),
            (":9464", None),
        ] {
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(listen_address(text).ok(), expected, "{text}");
        }
    }
}
