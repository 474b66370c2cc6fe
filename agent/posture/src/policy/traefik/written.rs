//! Values as Traefik takes them: a list may be words between commas, and a truth value or a number may
//! stand in quotes.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A list of words.
pub(super) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Words;
    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of words")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            let words = text.split(',').filter(|_| !text.is_empty());
            Ok(words.map(|word| word.trim().to_owned()).collect())
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = list.next_element()? {
                words.push(word);
            }
            Ok(words)
        }
    }
    deserializer.deserialize_any(Words)
}

/// A truth value, as `strconv.ParseBool` reads it.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Flag;
    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
            match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_unit<E>(self) -> Result<bool, E> {
            Ok(false)
        }
    }
    deserializer.deserialize_any(Flag)
}

/// The same as a member that is read by itself.
struct Flag;

impl<'de> DeserializeSeed<'de> for Flag {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        flag(deserializer)
    }
}

/// A number that is not negative; of a fraction what is before the point.
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Number<T>(PhantomData<T>);
    impl<T: TryFrom<u64>> Visitor<'_> for Number<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            let too_great = |_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self);
            T::try_from(value).map(Some).map_err(too_great)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            let negative = |_| E::invalid_value(serde::de::Unexpected::Signed(value), &self);
            let value = u64::try_from(value).map_err(negative)?;
            self.visit_u64(value)
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            self.visit_str(&value.trunc().to_string())
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(text), &self);
            let value = text.parse().map_err(wrong)?;
            self.visit_u64(value)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Number(PhantomData))
}

/// Client certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    pub(super) listed: Vec<Certificate>,
    /// They are no list: Traefik takes that, and makes certificates of it that are none.
    pub(super) is_other: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    #[serde(rename = "certFile")]
    pub(super) cert_file: String,
    #[serde(rename = "keyFile")]
    pub(super) key_file: String,
}

impl<'de> Deserialize<'de> for Certificates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Certificates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of certificates")
            }

            fn visit_unit<E>(self) -> Result<Certificates, E> {
                Ok(Certificates::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Certificates, E> {
                Ok(Certificates { is_other: !text.is_empty(), ..Certificates::default() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Certificates, A::Error> {
                let mut found = Certificates::default();
                while let Some(one) = all.next_element::<Certificate>()? {
                    found.listed.push(one);
                }
                Ok(found)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Certificates, A::Error> {
                let mut found = Certificates::default();
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    found.is_other = true;
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// Whether a router ends the TLS that comes in: `true`, or what it consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouterTls {
    pub(super) is_ended: bool,
}

impl<'de> Deserialize<'de> for RouterTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = RouterTls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or what TLS consists of")
            }

            fn visit_bool<E>(self, is_ended: bool) -> Result<RouterTls, E> {
                Ok(RouterTls { is_ended })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RouterTls, E> {
                let is_ended = flag(serde::de::value::StrDeserializer::new(text))?;
                Ok(RouterTls { is_ended })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RouterTls, A::Error> {
                let mut is_ended = true;
                while let Some(key) = map.next_key::<String>()? {
                    if key.eq_ignore_ascii_case("passthrough") {
                        is_ended = !map.next_value_seed(Flag)?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(RouterTls { is_ended })
            }
        }
        deserializer.deserialize_any(Written)
    }
}
