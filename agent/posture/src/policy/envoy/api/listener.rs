//! Listeners and routes, as far as they lead to clusters.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::{Address, Named};
use crate::policy::lenient::Passed;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct Listener {
    /// An internal one listens where no socket is.
    pub(in crate::policy::envoy) address: Address,
    #[serde(rename = "internal_listener", alias = "internalListener")]
    pub(in crate::policy::envoy) internal: Option<Passed>,
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
    pub(in crate::policy::envoy) typed_config: Option<Mentions>,
}

/// What a network filter or a table of routes, of whatever kind, has in it of clusters.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key that stands somewhere in it")]
pub(in crate::policy::envoy) struct Mentions {
    /// Of the whole.
    pub(in crate::policy::envoy) type_url: String,
    /// Names under `cluster` and `weighted_clusters` of the whole: where a `tcp_proxy` leads.
    pub(in crate::policy::envoy) led: HashSet<String>,
    /// Names elsewhere that are those of clusters, if there are such.
    pub(in crate::policy::envoy) names: HashSet<String>,
    /// The request names the cluster.
    pub(in crate::policy::envoy) is_open: bool,
    /// Routes come from elsewhere.
    pub(in crate::policy::envoy) is_discovered: bool,
    /// It names the cluster of a `tcp_proxy`, for each connection.
    pub(in crate::policy::envoy) chooses: bool,
    /// What is passed on goes by requests of Envoy's own (`tunneling_config` of a `tcp_proxy`).
    pub(in crate::policy::envoy) is_tunneled: bool,
}

impl<'de> Deserialize<'de> for Mentions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = Self::default();
        deserializer.deserialize_any(Inside {
            key: "",
            depth: 0,
            is_led: false,
            found: &mut found,
        })?;
        Ok(found)
    }
}

/// A value below a key, whatever it is.
struct Inside<'a> {
    key: &'a str,
    depth: usize,
    is_led: bool,
    found: &'a mut Mentions,
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Inside<'_> {
    /// Takes in that there is something below the key.
    fn is_there(&mut self) {
        match self.key {
            "cluster_header"
            | "clusterHeader"
            | "cluster_specifier_plugin"
            | "clusterSpecifierPlugin"
            | "inline_cluster_specifier_plugin"
            | "inlineClusterSpecifierPlugin" => self.found.is_open = true,
            "rds" | "scoped_routes" | "scopedRoutes" => self.found.is_discovered = true,
            "tunneling_config" | "tunnelingConfig" => self.found.is_tunneled = true,
            _ => {}
        }
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.is_there();
        match self.key {
            "@type" if self.depth == 1 => text.clone_into(&mut self.found.type_url),
            "object_key" | "objectKey" => {
                self.found.chooses |= text == "envoy.tcp_proxy.cluster";
            }
            // Those among several have but a name.
            "cluster" | "cluster_name" | "clusterName" | "name" => {
                let Mentions { led, names, .. } = self.found;
                let names = if self.is_led { led } else { names };
                if !names.contains(text) {
                    names.insert(text.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.is_there();
        let Self { key, depth, is_led, found } = self;
        while list.next_element_seed(Inside { key, depth, is_led, found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.is_there();
        let Self { depth, is_led, found, .. } = self;
        while let Some(key) = map.next_key::<String>()? {
            let leads = matches!(&*key, "cluster" | "weighted_clusters" | "weightedClusters");
            let is_led = is_led || depth == 0 && leads;
            map.next_value_seed(Inside { key: &key, depth: depth + 1, is_led, found })?;
        }
        Ok(())
    }
}
