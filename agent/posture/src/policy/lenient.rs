//! Configurations as the proxies themselves take them where serde is stricter: `null` stands for what
//! is not said, and Go finds a field in whatever case its name is written, but a key of a map as it stands.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
        value::{Error as NoError, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// A value of which only matters that it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads a value and what is inside of it. What is written twice, in one case or in two, is refused: Go
/// takes the last, or both one over the other, by what it is.
pub(super) struct Lenient<D> {
    inner: D,
    rules: Rules,
}

/// How what is inside of a value is read.
#[derive(Clone, Copy)]
struct Rules {
    names: Names,
    /// Of a structure, which serde may read as a map (`flatten`); none of a map, whose keys are data.
    fields: &'static [&'static str],
}

impl Rules {
    /// Of what is inside of a member or an element.
    fn inside(self) -> Self {
        Self { fields: &[], ..self }
    }
}

/// How the names of fields are compared.
#[derive(Clone, Copy)]
enum Names {
    AsWritten,
    AnyCase,
}

/// Structures that are read so, each with how. (They are derived with `remote = "Self"`: what is derived
/// is no method of the trait then.)
macro_rules! leniently {
    ($($structure:ident: $how:expr,)*) => {$(
        impl<'de> serde::Deserialize<'de> for $structure {
            fn deserialize<D: serde::Deserializer<'de>>(inner: D) -> Result<Self, D::Error> {
                Self::deserialize($how(inner))
            }
        }
    )*};
}
pub(super) use leniently;

impl<D> Lenient<D> {
    /// Fields are found by their very names (protobuf).
    pub(super) fn as_written(inner: D) -> Self {
        Self { inner, rules: Rules { names: Names::AsWritten, fields: &[] } }
    }

    /// Fields are found in any case (Go's `encoding/json`, and what Traefik reads its files with).
    pub(super) fn any_case(inner: D) -> Self {
        Self { inner, rules: Rules { names: Names::AnyCase, fields: &[] } }
    }

    /// The same for a structure that gathers what it does not know (`flatten`): it has these fields.
    pub(super) fn with_fields(fields: &'static [&'static str]) -> impl FnOnce(D) -> Self {
        move |inner| Self { inner, rules: Rules { names: Names::AnyCase, fields } }
    }
}

/// Methods for values that are empty where `null` is written.
macro_rules! empty_if_null {
    ($($method:ident: $visit:ident($empty:expr),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            struct OrNull<V>(Inside<V>);
            impl<'de, V: Visitor<'de>> Visitor<'de> for OrNull<V> {
                type Value = V::Value;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.expecting(f)
                }

                fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
                    self.0.visitor.$visit($empty).map_err(|error: NoError| E::custom(error))
                }

                fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
                    self.visit_none()
                }

                fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
                    inner.$method(self.0)
                }
            }
            let Self { inner, rules } = self;
            inner.deserialize_option(OrNull(Inside { visitor, rules }))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, rules } = self;
        inner.deserialize_any(Inside { visitor, rules })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, rules } = self;
        inner.deserialize_option(Inside { visitor, rules })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let rules = Rules { fields, ..self.rules };
        Self { rules, ..self }.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }

    empty_if_null! {
        deserialize_bool: visit_bool(false),
        deserialize_u16: visit_u16(0),
        deserialize_u32: visit_u32(0),
        deserialize_string: visit_str(""),
        deserialize_seq: visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
        deserialize_map: visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct enum identifier
    }
}

/// What is inside of a value.
struct Inside<V> {
    visitor: V,
    rules: Rules,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_str(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Lenient { inner, rules: self.rules })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Inner { inner: elements, rules: self.rules })
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Inner { inner: members, rules: self.rules })
    }
}

/// A value that is read later.
struct Later<S> {
    seed: S,
    rules: Rules,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Later<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Lenient { inner, rules: self.rules.inside() })
    }
}

/// The elements or the members of a value.
struct Inner<A> {
    inner: A,
    rules: Rules,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Inner<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Later { seed, rules: self.rules })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Inner<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        if matches!(self.rules.names, Names::AsWritten) || self.rules.fields.is_empty() {
            return self.inner.next_key_seed(seed);
        }
        let Some(key) = self.inner.next_key::<String>()? else { return Ok(None) };
        let field = self.rules.fields.iter().find(|field| is_field(field, &key));
        seed.deserialize(field.map_or(&*key, |field| field).into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Later { seed, rules: self.rules })
    }
}

/// Whether a key is one for a field (`strings.EqualFold` of Go, `foldName` of `encoding/json`): two
/// letters beyond ASCII have one of its own as their other case.
fn is_field(field: &str, key: &str) -> bool {
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(field.chars().map(|letter| letter.to_ascii_lowercase()))
}
