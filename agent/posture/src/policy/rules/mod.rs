//! The operator's policy: what each hop has to be.
//!
//! A policy file is a list of `[[policies]]` in TOML. **The first one that matches a hop applies
//! to it**, the others do not, as with a packet filter: what is written first is what counts, and
//! nobody has to know how specific a pattern is. A policy that can therefore never apply is an
//! error in the file. Hops that nothing matches get the built-in policies, which come last:
//! plaintext and unverified one-way TLS are violations outside of loopback.

mod file;
mod values;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use hopsight_core::{tls::hello::TlsVersion, vocabulary};
use serde::Deserialize;

pub use file::{BUILT_IN, PolicyError};
pub use values::{Cidr, parse_version};

use super::glob;

vocabulary! {
    /// The weakest protection a hop may have.
    Require {
        /// Both ends authenticate with certificates.
        Mtls => "mtls",
        /// TLS, mutual or one-way.
        Tls => "tls",
        /// Anything.
        PlaintextAllowed => "plaintext-allowed",
    }
}

vocabulary! {
    /// Whether the proxy has to check the upstream's certificate.
    VerifyUpstream {
        /// On every TLS hop.
        Always => "always",
        /// On one-way TLS, where nothing else tells whom the proxy speaks to.
        UnlessMtls => "unless-mtls",
        /// It need not.
        Never => "never",
    }
}

vocabulary! {
    /// Whether the proxy may present a client certificate.
    ClientCertificate {
        /// It may.
        Allowed => "allowed",
        /// It must not: the upstream is a third party that should not learn who we are.
        Forbidden => "forbidden",
    }
}

vocabulary! {
    /// The weakest key exchange that a hop may have.
    KeyExchange {
        /// Fresh keys for every full handshake: who gets the upstream's key later reads nothing that
        /// was recorded before.
        ForwardSecret => "forward-secret",
        /// From ML-KEM, alone or beside a curve: nor does a quantum computer.
        PostQuantum => "post-quantum",
    }
}

/// Which hops a policy is for. What is left out matches everything; lists match if one value does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Proxy names, as patterns of [`glob::matches`]: `namespace/workload` of one in a pod, or the
    /// process name of any.
    #[serde(deserialize_with = "values::one_or_many")]
    pub proxy: Vec<String>,
    /// Upstream names, as patterns.
    #[serde(deserialize_with = "values::one_or_many")]
    pub upstream: Vec<String>,
    /// Kubernetes namespaces of the proxy, as patterns. A proxy outside of Kubernetes, or whose
    /// namespace is not known, has none and does not match.
    #[serde(deserialize_with = "values::one_or_many")]
    pub namespace: Vec<String>,
    /// Networks of the upstream's address.
    #[serde(deserialize_with = "values::one_or_many")]
    pub cidr: Vec<Cidr>,
    /// Ports of the upstream.
    #[serde(deserialize_with = "values::one_or_many")]
    pub port: Vec<u16>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct Policy {
    /// Its name; `policy-N` for the N-th if the file gives none.
    pub name: String,
    /// Line in the file where it begins, from 1.
    pub line: u32,
    /// It is one of hopsight's own, not the operator's.
    pub built_in: bool,
    /// Which hops it is for.
    pub matches: Match,
    /// The weakest protection they may have.
    pub require: Require,
    /// The lowest protocol version.
    pub min_version: Option<TlsVersion>,
    /// Whether the upstream's certificate has to be checked. `unless-mtls` if the file does not
    /// say, `never` where plaintext is allowed.
    pub verify_upstream: VerifyUpstream,
    /// Whether a client certificate may be presented.
    pub client_certificate: ClientCertificate,
    /// Issuers a client certificate may have, as patterns on the whole name
    /// (`*CN=Mesh CA*`); any if empty.
    pub allowed_client_issuers: Vec<String>,
    /// Subject alternative names of which a client certificate has to have one, as patterns with
    /// or without the kind in front (`URI:spiffe://example.org/*`); any if empty.
    pub allowed_client_sans: Vec<String>,
    /// How long before its end a certificate counts as expiring.
    pub expiry_margin: Option<Duration>,
    /// How old the handshake may be that a session rests on.
    pub max_authentication_age: Option<Duration>,
    /// Cipher suites that must not be negotiated, as patterns on the IANA name.
    pub forbidden_ciphers: Vec<String>,
    /// The weakest key exchange.
    pub minimum_key_exchange: Option<KeyExchange>,
    /// Groups that the keys may come from, as patterns on the IANA name; any if empty.
    pub allowed_groups: Vec<String>,
    /// What either side may sign the handshake with, as patterns on the IANA name; anything if empty.
    pub allowed_signature_schemes: Vec<String>,
    /// SPIFFE IDs that the upstream's certificate may have, as patterns; any, and none, if empty.
    pub allowed_spiffe_ids: Vec<String>,
    /// How long a certificate of either side may be valid in all.
    pub max_certificate_lifetime: Option<Duration>,
    /// Issuers that the upstream's certificate may have, as patterns on the whole name; any if empty.
    pub allowed_upstream_issuers: Vec<String>,
    /// Kinds and sizes of keys that certificates of either side may have, and the CAs sent with them,
    /// as patterns (`p256`, `rsa[34]*`); any if empty.
    pub allowed_public_keys: Vec<String>,
    /// What these may be signed with, as patterns (`ecdsa-with-SHA*`); anything if empty.
    pub allowed_certificate_signatures: Vec<String>,
    /// Whether certificates of different subjects have to have different keys.
    pub keys_must_be_unique: bool,
    /// Whether what the upstream presents has to chain to what the configuration trusts, for the name
    /// that it uses, and what the proxy presents to a CA that the upstream names.
    pub must_chain: bool,
    /// Whether the certificates of both sides have to be known not to be revoked.
    pub must_not_be_revoked: bool,
}

/// The hop a policy is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The proxy as its hop is labelled.
    pub proxy: &'a str,
    /// Its process name.
    pub process: &'a str,
    /// Upstream name.
    pub upstream: &'a str,
    /// Namespace of the proxy, if it has one.
    pub namespace: Option<&'a str>,
    /// The upstream's address.
    pub address: IpAddr,
    /// The upstream's port.
    pub port: u16,
}

impl Match {
    /// Whether `hop` is matched.
    #[must_use]
    pub fn matches(&self, hop: &Subject<'_>) -> bool {
        let pattern = |patterns: &[String], value: Option<&str>| {
            patterns.is_empty()
                || value.is_some_and(|value| patterns.iter().any(|one| glob::matches(one, value)))
        };
        (pattern(&self.proxy, Some(hop.proxy)) || pattern(&self.proxy, Some(hop.process)))
            && pattern(&self.upstream, Some(hop.upstream))
            && pattern(&self.namespace, hop.namespace)
            && (self.cidr.is_empty() || self.cidr.iter().any(|cidr| cidr.contains(hop.address)))
            && (self.port.is_empty() || self.port.contains(&hop.port))
    }

    /// Whether every hop that `other` matches is matched by `self` as well. May say no where a
    /// closer look at two patterns would say yes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        covered(&self.proxy, &other.proxy, glob_covers)
            && covered(&self.upstream, &other.upstream, glob_covers)
            && covered(&self.namespace, &other.namespace, glob_covers)
            && covered(&self.cidr, &other.cidr, Cidr::covers)
            && covered(&self.port, &other.port, u16::eq)
    }
}

fn covered<T>(ours: &[T], theirs: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let by_one_of_ours = |their: &T| ours.iter().any(|our| covers(our, their));
    ours.is_empty() || (!theirs.is_empty() && theirs.iter().all(by_one_of_ours))
}

fn glob_covers(ours: &String, theirs: &String) -> bool {
    let by_prefix = ours
        .strip_suffix('*')
        .is_some_and(|prefix| !glob::is_pattern(prefix) && theirs.starts_with(prefix));
    ours == theirs || by_prefix || (!glob::is_pattern(theirs) && glob::matches(ours, theirs))
}

impl Policy {
    /// Whether the other is of the same name and asks for the same of the same hops, wherever in the
    /// file it stands.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self { line: other.line, ..self.clone() } == *other
    }
}

/// The policies in force, the built-in ones last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    policies: Vec<Policy>,
}

impl PolicySet {
    /// All of them, in the order they are tried.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The operator's.
    pub fn own(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().filter(|policy| !policy.built_in)
    }

    /// The policy that applies to `hop`.
    #[must_use]
    pub fn find(&self, hop: &Subject<'_>) -> &Policy {
        let last = self.policies.len() - 1;
        let first = self.policies.iter().position(|policy| policy.matches.matches(hop));
        // The last built-in policy matches every hop.
        &self.policies[first.unwrap_or(last)]
    }
}
