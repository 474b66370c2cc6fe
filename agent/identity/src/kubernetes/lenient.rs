//! Parts of objects that may have another shape than is known here: one such object must not stop the
//! reading of all others.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use hopsight_posture::hops::labels;

/// Bytes that are kept of what is wrong.
const MAX_WORDS: usize = 256;

/// A part of an object, or what is wrong with it. One that is not there says nothing.
#[derive(Clone, Debug)]
pub(super) struct Lenient<T>(pub(super) Result<T, String>);

impl<T: Default> Default for Lenient<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

impl<'de, T: Default + DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = |error: serde_json::Error| {
            labels::printable(&error.to_string(), MAX_WORDS).into_owned()
        };
        let Some(value) = Option::<Value>::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        Ok(Self(T::deserialize(value).map_err(words)))
    }
}
