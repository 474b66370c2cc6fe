//! The policy that today's observation fulfils, as a start for one's own.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    model::{Security, ServerVerified},
    policy::{observation::Observation, rules::Require},
    tls::hello::TlsVersion,
};

/// The weakest of what was seen of one hop.
#[derive(Default)]
struct Seen {
    plaintext: u64,
    one_way: u64,
    mutual: u64,
    unknown: u64,
    /// One-way connections whose upstream was checked, and those not known to be.
    verified: u64,
    not_verified: u64,
    lowest_version: Option<TlsVersion>,
}

/// Writes a policy file with one policy per upstream name that asks for what every one of its
/// `observations` had; with each comes how many connections it stands for. A hop of which nothing was established gets a comment and no policy.
#[must_use]
pub fn suggest<'a>(observations: impl IntoIterator<Item = (Observation<'a>, u64)>) -> String {
    // Those with a namespace first: one without would match them as well.
    let mut hops: BTreeMap<(bool, &str, Option<&str>, &str), Seen> = BTreeMap::new();
    for (observation, connections) in observations {
        let namespace = observation.namespace;
        let key = (namespace.is_none(), observation.proxy, namespace, observation.upstream_name());
        hops.entry(key).or_default().add(&observation, connections);
    }
    let mut out = String::from(
        "# Suggested by hopsight from what it observed: every hop as it is today.\n\
         # Tighten what should not stay so. The first policy that matches a hop applies.\n",
    );
    for ((_, proxy, namespace, upstream), seen) in &hops {
        // Writing to a String cannot fail.
        let _ = seen.write(&mut out, proxy, *namespace, upstream);
    }
    out
}

impl Seen {
    fn add(&mut self, observation: &Observation<'_>, connections: u64) {
        match observation.verdict.security {
            Security::Plaintext => self.plaintext += connections,
            Security::Mtls => self.mutual += connections,
            Security::Unknown => self.unknown += connections,
            Security::Tls => {
                self.one_way += connections;
                match observation.verdict.server_verified {
                    ServerVerified::Yes => self.verified += connections,
                    ServerVerified::No | ServerVerified::Unknown => {
                        self.not_verified += connections;
                    }
                }
            }
        }
        if let Some(version) = observation.tls_version {
            let lowest = self.lowest_version.map_or(version, |lowest| lowest.min(version));
            self.lowest_version = Some(lowest);
        }
    }

    fn write(
        &self,
        out: &mut String,
        proxy: &str,
        namespace: Option<&str>,
        upstream: &str,
    ) -> std::fmt::Result {
        let require = match self {
            Self { plaintext: 1.., .. } => Require::PlaintextAllowed,
            Self { one_way: 1.., .. } => Require::Tls,
            Self { mutual: 1.., .. } => Require::Mtls,
            _ => {
                writeln!(out)?;
                return writeln!(
                    out,
                    "# {} to {}: {} connections, none of them established what it is.",
                    comment(proxy),
                    comment(upstream),
                    self.unknown,
                );
            }
        };
        writeln!(
            out,
            "\n# {} mutual, {} one-way, {} plaintext, {} unknown",
            self.mutual, self.one_way, self.plaintext, self.unknown
        )?;
        writeln!(out, "[[policies]]")?;
        writeln!(out, "match.proxy = {}", literal(proxy))?;
        if let Some(namespace) = namespace {
            writeln!(out, "match.namespace = {}", literal(namespace))?;
        }
        writeln!(out, "match.upstream = {}", literal(upstream))?;
        writeln!(out, "require = \"{require}\"")?;
        if require == Require::Tls {
            let verify = self.not_verified == 0 && self.verified > 0;
            writeln!(
                out,
                "verify_upstream = \"{}\"",
                if verify { "unless-mtls" } else { "never" }
            )?;
        }
        match self.lowest_version {
            Some(version) if require != Require::PlaintextAllowed && version.0 <= 0x0304 => {
                writeln!(out, "min_version = \"{version}\"")
            }
            _ => Ok(()),
        }
    }
}

/// A TOML string that, as a pattern, matches just `text`.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    toml::Value::String(pattern).to_string()
}

/// Text that cannot end a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}
