//! Who sends: a resource in OpenTelemetry's words.

use std::borrow::Cow;

use anyhow::Context as _;
use opentelemetry_proto::tonic::resource::v1::Resource as Message;
use percent_encoding::percent_decode_str;

use super::text_attribute;

/// Attributes of the process that sends: `service.*` and `host.name` of the semantic conventions,
/// and what its environment adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Vec<(String, String)>);

impl Resource {
    /// This process on this machine.
    #[must_use]
    pub fn of_this_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim_end().to_owned();
        let attributes = [
            ("service.name", "hopsight".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", format!("{host}:{}", std::process::id())),
            ("host.name", host),
        ];
        Self(attributes.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// The same with this attribute, in place of one of its name.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same with the attributes of a list as `OTEL_RESOURCE_ATTRIBUTES` has it: `key=value`
    /// with commas between, percent-encoded.
    ///
    /// # Errors
    /// It is no such list.
    pub fn with_list(self, list: &str) -> anyhow::Result<Self> {
        Ok(pairs(list)?.into_iter().fold(self, |all, (key, value)| all.with(&key, &value)))
    }

    pub(super) fn message(&self) -> Message {
        let attributes = self.0.iter().map(|(key, value)| text_attribute(key, value.clone()));
        Message { attributes: attributes.collect(), ..Message::default() }
    }
}

/// A list of `key=value` with commas between, percent-encoded (W3C Baggage, without properties), as
/// variables of OpenTelemetry have it.
pub(super) fn pairs(list: &str) -> anyhow::Result<Vec<(String, String)>> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let pair = |entry: &str| {
        let (key, value) = entry.split_once('=').with_context(|| {
            format!("read {entry:?}: it is not key=value (percent-encode commas as %2C)")
        })?;
        let decoded = |text: &str| {
            let text = percent_decode_str(text.trim()).decode_utf8();
            text.map(Cow::into_owned).with_context(|| format!("decode {entry:?}"))
        };
        Ok((decoded(key)?, decoded(value)?))
    };
    entries.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_environment() {
        for (list, want) in [
            ("", Some(vec![])),
            ("a=1, b = x%2Cy ,", Some(vec![("a", "1"), ("b", "x,y")])),
            ("authorization=Bearer%20t=1", Some(vec![("authorization", "Bearer t=1")])),
            ("a", None),
            ("a=%ff", None),
        ] {
            let got = pairs(list).ok();
            let want = want.map(|all| {
                all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            });
            assert_eq!(got, want, "{list}");
        }
    }

    #[test]
    fn what_is_named_replaces_what_is_known() {
        let resource = Resource::of_this_process().with_list("service.name=edge,k=v").unwrap();
        let value = |key: &str| {
            let mut found = resource.0.iter().filter(|(known, _)| known == key);
            let value = found.next().map(|(_, value)| value.as_str());
            assert_eq!(found.next(), None, "{key}");
            value
        };
        assert_eq!((value("service.name"), value("k")), (Some("edge"), Some("v")));
        assert_eq!(value("service.version"), Some(env!("CARGO_PKG_VERSION")));
    }
}
