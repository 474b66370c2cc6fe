//! Values of a policy file that TOML has no type for.

use std::{fmt, marker::PhantomData, net::IpAddr, str::FromStr, time::Duration};

use hopsight_core::tls::hello::TlsVersion;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::VerifyUpstream;

/// A network in CIDR notation (RFC 4632): address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether `address` belongs to it. IPv4 written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(u32::from(network).into(), u32::from(address).into(), self.prefix, 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.into(), address.into(), self.prefix, 128)
            }
            _ => false,
        }
    }

    /// Whether every address of `other` belongs to it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

/// Whether the first `prefix` of `width` bits are the same.
fn same_prefix(one: u128, other: u128, prefix: u8, width: u32) -> bool {
    (one ^ other).checked_shr(width - u32::from(prefix)).unwrap_or(0) == 0
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is no network such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| bad())?;
        if prefix > width {
            return Err(bad());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The version a report or a policy file names: `1.2`, or `TLSv1.2` as nginx spells it.
#[must_use]
pub fn parse_version(text: &str) -> Option<TlsVersion> {
    Some(TlsVersion(match text.strip_prefix("TLSv").unwrap_or(text) {
        "SSLv2" => 0x0002,
        "SSLv3" => 0x0300,
        "1" | "1.0" => 0x0301,
        "1.1" => 0x0302,
        "1.2" => 0x0303,
        "1.3" => 0x0304,
        _ => return None,
    }))
}

pub(super) fn version<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TlsVersion>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let version = parse_version(&text).filter(|version| version.0 >= 0x0301).ok_or_else(|| {
        de::Error::custom(format!("\"{text}\" is no TLS version: say 1.0, 1.1, 1.2 or 1.3"))
    })?;
    Ok(Some(version))
}

/// A number and a unit: `90s`, `15m`, `36h`, `14d` or `2w`.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: Option<u64> = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        "w" => Some(604_800),
        _ => None,
    };
    number
        .parse()
        .ok()
        .zip(unit)
        .and_then(|(number, unit): (u64, u64)| number.checked_mul(unit))
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(|| {
            de::Error::custom(format!("\"{text}\" is no time span such as 90s, 36h or 14d"))
        })
}

/// A word of [`VerifyUpstream`], or `true` and `false` for `always` and `never`.
pub(super) fn verify_upstream<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<VerifyUpstream, D::Error> {
    struct Words;
    impl Visitor<'_> for Words {
        type Value = VerifyUpstream;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or one of \"always\", \"unless-mtls\", \"never\"")
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<VerifyUpstream, E> {
            Ok(if value { VerifyUpstream::Always } else { VerifyUpstream::Never })
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<VerifyUpstream, E> {
            VerifyUpstream::ALL
                .iter()
                .copied()
                .find(|value| value.as_str() == word)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self))
        }
    }
    deserializer.deserialize_any(Words)
}

/// One value, or a list of at least one.
pub(super) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct OneOrMany<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value or a list of values")
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Vec<T>, E> {
            T::deserialize(de::value::StrDeserializer::new(value)).map(|value| vec![value])
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
            T::deserialize(de::value::I64Deserializer::new(value)).map(|value| vec![value])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(value) = list.next_element()? {
                out.push(value);
            }
            if out.is_empty() {
                return Err(de::Error::custom(
                    "an empty list matches nothing; leave the key out to match everything",
                ));
            }
            Ok(out)
        }
    }
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
        ] {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "localhost", "10.0.0.0/8/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
