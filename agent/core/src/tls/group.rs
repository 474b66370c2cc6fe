//! Groups of a key exchange (RFC 8446 section 4.2.7), by the numbers of the IANA registry "TLS
//! Supported Groups".

use super::{fields::Fields, offers::is_grease};
use crate::model::Word;

/// Most groups of one ClientHello that are kept. The registry has some sixty.
pub const MAX_OFFERED: usize = 64;

/// A group by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamedGroup(pub u16);

impl NamedGroup {
    /// Its name in the registry, or its number in hex.
    #[must_use]
    pub fn name(self) -> Word {
        registered(self.0).map_or_else(|| format!("0x{:04X}", self.0).into(), Word::Borrowed)
    }
}

/// Whether a group of this name resists a quantum computer: with ML-KEM alone, or beside a curve. The
/// drafts of Kyber that were in use count.
#[must_use]
pub fn is_post_quantum(name: &str) -> bool {
    name.contains("MLKEM") || name.contains("Kyber")
}

/// The groups in a client's `supported_groups`, in its order of preference, without GREASE;
/// [`MAX_OFFERED`] at most, as far as they are whole.
pub fn offered(content: &[u8]) -> impl Iterator<Item = NamedGroup> {
    let mut list = Fields::of(Fields::of(content).prefixed::<2>().unwrap_or_default());
    let groups = std::iter::from_fn(move || list.u16()).filter(|number| !is_grease(*number));
    groups.take(MAX_OFFERED).map(NamedGroup)
}

/// The group in a server's `key_share`: of the share in a ServerHello, and the one that a
/// HelloRetryRequest asks for.
#[must_use]
pub fn selected(content: &[u8]) -> Option<NamedGroup> {
    Fields::of(content).u16().map(NamedGroup)
}

/// From "TLS Supported Groups", with the drafts of Kyber whose numbers were in use.
#[rustfmt::skip]
const fn registered(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "sect163k1", 2 => "sect163r1", 3 => "sect163r2", 4 => "sect193r1", 5 => "sect193r2",
        6 => "sect233k1", 7 => "sect233r1", 8 => "sect239k1", 9 => "sect283k1", 10 => "sect283r1",
        11 => "sect409k1", 12 => "sect409r1", 13 => "sect571k1", 14 => "sect571r1",
        15 => "secp160k1", 16 => "secp160r1", 17 => "secp160r2", 18 => "secp192k1",
        19 => "secp192r1", 20 => "secp224k1", 21 => "secp224r1", 22 => "secp256k1",
        23 => "secp256r1", 24 => "secp384r1", 25 => "secp521r1",
        26 => "brainpoolP256r1", 27 => "brainpoolP384r1", 28 => "brainpoolP512r1",
        29 => "x25519", 30 => "x448",
        31 => "brainpoolP256r1tls13", 32 => "brainpoolP384r1tls13", 33 => "brainpoolP512r1tls13",
        34 => "GC256A", 35 => "GC256B", 36 => "GC256C", 37 => "GC256D",
        38 => "GC512A", 39 => "GC512B", 40 => "GC512C", 41 => "curveSM2",
        256 => "ffdhe2048", 257 => "ffdhe3072", 258 => "ffdhe4096", 259 => "ffdhe6144",
        260 => "ffdhe8192",
        512 => "MLKEM512", 513 => "MLKEM768", 514 => "MLKEM1024",
        4587 => "SecP256r1MLKEM768", 4588 => "X25519MLKEM768", 4589 => "SecP384r1MLKEM1024",
        4590 => "curveSM2MLKEM768",
        25_497 => "X25519Kyber768Draft00", 25_498 => "SecP256r1Kyber768Draft00",
        0xff01 => "arbitrary_explicit_prime_curves", 0xff02 => "arbitrary_explicit_char2_curves",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_called_by_their_registered_names() {
        for (number, name, post_quantum) in [
            (23, "secp256r1", false),
            (29, "x25519", false),
            (256, "ffdhe2048", false),
            (513, "MLKEM768", true),
            (0x11eb, "SecP256r1MLKEM768", true),
            (0x11ec, "X25519MLKEM768", true),
            (0x11ed, "SecP384r1MLKEM1024", true),
            (0x6399, "X25519Kyber768Draft00", true),
            (0x4242, "0x4242", false),
        ] {
            assert_eq!(NamedGroup(number).name(), name);
            assert_eq!(is_post_quantum(name), post_quantum, "{name}");
        }
    }

    #[test]
    fn what_is_offered_is_read_as_far_as_it_is_whole() {
        let cases: [(&str, &[u8], &[u16]); 5] = [
            ("two", &[0, 4, 0x11, 0xec, 0, 29], &[0x11ec, 29]),
            ("GREASE before it", &[0, 4, 0x2a, 0x2a, 0, 29], &[29]),
            ("half a number", &[0, 3, 0, 29, 0], &[29]),
            ("a length beyond the end", &[0, 9, 0, 29], &[]),
            ("nothing", &[], &[]),
        ];
        for (name, content, numbers) in cases {
            let groups: Vec<u16> = offered(content).map(|group| group.0).collect();
            assert_eq!(groups, numbers, "{name}");
        }
        let many = [&[0x40, 0][..], &[0, 29].repeat(0x2000)].concat();
        assert_eq!(offered(&many).count(), MAX_OFFERED);
        assert_eq!(selected(&[0x11, 0xec, 0, 1, 7]), Some(NamedGroup(0x11ec)));
        assert_eq!(selected(&[0x11]), None);
    }
}
