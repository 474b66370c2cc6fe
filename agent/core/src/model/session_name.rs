//! What stands for a session's identifier or ticket.
//!
//! A ticket is a secret of the proxy's: nothing but its hash is kept, under a key that the agent makes
//! at its start and that goes nowhere.

use std::{fmt, hash::Hasher as _, num::NonZeroU64, sync::OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// The key of all names of this process.
static KEY: OnceLock<(u64, u64)> = OnceLock::new();

/// Sets the key that sessions are named with, once, before the first is named. Without it the key is
/// zero: so it is in replay, and while events are recorded for it, for names that were made with
/// different keys cannot be compared. Says whether it was set.
pub fn key_names(key: (u64, u64)) -> bool {
    KEY.set(key).is_ok()
}

/// What tells a message from every other, under the same key: who does not know that cannot make two
/// that are alike.
#[must_use]
pub fn keyed_hash(bytes: &[u8]) -> u64 {
    let (k0, k1) = *KEY.get_or_init(Default::default);
    siphasher::sip::SipHasher13::new_with_keys(k0, k1).hash(bytes)
}

/// What stands for an identifier or a ticket: 128 bits of a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(NonZeroU64, u64);

impl SessionName {
    /// Of an identifier or ticket; `None` of an empty one, which names nothing.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let (k0, k1) = *KEY.get_or_init(Default::default);
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        hasher.write(bytes);
        let hash = hasher.finish128();
        Some(Self(NonZeroU64::MIN.saturating_add(hash.h1), hash.h2))
    }
}

/// In recorded events: 32 hexadecimal digits.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionName({self})")
    }
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |digits: Option<&str>| u64::from_str_radix(digits?, 16).ok();
        let halves = (text.len() == 32).then(|| (number(text.get(..16)), number(text.get(16..))));
        match halves {
            Some((Some(first), Some(second))) => NonZeroU64::new(first)
                .map(|first| Self(first, second))
                .ok_or_else(|| D::Error::custom("the name of no session")),
            _ => Err(D::Error::custom("a session's name has 32 hexadecimal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_a_recording_and_tells_every_byte() {
        let name = SessionName::of(&[7; 300]).unwrap();
        let text = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<SessionName>(&text).unwrap(), name);
        for at in [0, 31, 150, 299] {
            let mut other = [7; 300];
            other[at] = 8;
            assert_ne!(SessionName::of(&other), Some(name), "{at}");
        }
        for bad in ["\"\"", "\"xx\"", "\"0000000000000000ffffffffffffffff\"", "7"] {
            assert!(serde_json::from_str::<SessionName>(bad).is_err(), "{bad}");
        }
    }
}
