//! Listeners, as far as they lead to clusters past HTTP.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Named;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct Listener {
    #[serde(alias = "filterChains")]
    pub(in crate::policy::envoy) filter_chains: Vec<FilterChain>,
    #[serde(alias = "defaultFilterChain")]
    pub(in crate::policy::envoy) default_filter_chain: Option<FilterChain>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct FilterChain {
    pub(in crate::policy::envoy) filters: Vec<Filter>,
    #[serde(alias = "transportSocket")]
    pub(in crate::policy::envoy) transport_socket: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct Filter {
    #[serde(alias = "typedConfig")]
    pub(in crate::policy::envoy) typed_config: Option<TypedFilter>,
}

/// What is known of network filters: where a `tcp_proxy` leads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TypedFilter {
    #[serde(rename = "@type")]
    pub(in crate::policy::envoy) type_url: String,
    #[serde(deserialize_with = "text_if_it_is")]
    pub(in crate::policy::envoy) cluster: Option<String>,
    #[serde(alias = "weightedClusters")]
    pub(in crate::policy::envoy) weighted_clusters: Option<WeightedClusters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct WeightedClusters {
    pub(in crate::policy::envoy) clusters: Vec<Named>,
}

/// A text; `None` for anything else that a filter of another kind may have there.
fn text_if_it_is<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    deserializer.deserialize_any(Text)
}
