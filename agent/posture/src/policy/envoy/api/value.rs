//! Values that are read in one of several ways.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A value of an enumeration, by its name or its number.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy::envoy) enum Enumerated {
    Name(String),
    Number(i64),
}

impl Enumerated {
    /// Whether it is the value of this name and number. Envoy takes names in any case
    /// (`case_insensitive_enum_parsing`), and protobuf takes numbers that stand in quotes.
    pub(in crate::policy::envoy) fn is(&self, name: &str, number: i64) -> bool {
        match self {
            Self::Number(value) => *value == number,
            Self::Name(text) => {
                text.eq_ignore_ascii_case(name) || text.trim().parse() == Ok(number)
            }
        }
    }
}

impl fmt::Display for Enumerated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Enumerated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Name(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Name(name) => Self::Name(name),
            // Protobuf takes `1.0` as well.
            #[expect(clippy::cast_possible_truncation, reason = "what is too great is no value")]
            Written::Number(number) => Self::Number(number as i64),
        })
    }
}

/// A value that can be compared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(in crate::policy::envoy) enum Scalar {
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Struct(BTreeMap<String, Self>),
    Null(()),
}

/// A whole number of 32 bits or less as protobuf takes it: it may stand in quotes, and have a fraction
/// of zero, as Envoy's YAML makes text of `29445.0`.
struct Whole<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number")]
        enum Written {
            Number(f64),
            Text(String),
        }
        let number = match Written::deserialize(deserializer)? {
            Written::Number(number) => Some(number),
            Written::Text(text) => text.parse().ok(),
        };
        let is_whole = |number: &f64| number.fract() == 0.0 && *number >= 0.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole")]
        let number = number.filter(is_whole).and_then(|number| T::try_from(number as u64).ok());
        number.map(Self).ok_or_else(|| D::Error::custom("it is no number that fits"))
    }
}

/// Reads a [`Whole`].
pub(super) fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    Whole::deserialize(deserializer).map(|Whole(number)| number)
}

/// Reads a [`Whole`] that may be missing.
pub(super) fn whole_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    Ok(Option::<Whole<T>>::deserialize(deserializer)?.map(|Whole(number)| number))
}
