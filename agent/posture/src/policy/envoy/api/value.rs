//! Values that are read in one of several ways.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer};

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
