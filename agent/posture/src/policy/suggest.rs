//! The policy that today's observation fulfils, as a start for one's own.

use std::{collections::BTreeMap, fmt::Write as _};

use hopsight_core::{
    model::{Security, ServerVerified},
    tls::hello::TlsVersion,
};

use crate::policy::{observation::Observation, rules::Require};

/// The weakest of what was seen of one hop.
#[derive(Default)]
struct Seen {
    /// Connections of treatments of each kind, where there are such treatments: one in use may have
    /// no finished connection yet.
    plaintext: Option<u64>,
    one_way: Option<u64>,
    mutual: Option<u64>,
    unknown: u64,
    /// One-way treatments that are not known to check the upstream.
    unchecked: bool,
    lowest_version: Option<TlsVersion>,
    /// The proxy is called what its process is, as processes of other owners may be.
    goes_by_process: bool,
}

/// Writes a policy file with one policy per upstream name that asks for what every one of its
/// `observations` had, one for each treatment in use; with each comes how many connections it stands
/// for. A hop of which nothing was established gets a comment and no policy. A pattern on a proxy's
/// name matches every process of that name, so the policies of proxies that have a label of their own
/// come before those of proxies that go by their process: each hop is matched by its own.
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
    let mut hops: Vec<_> = hops.into_iter().collect();
    hops.sort_by_key(|(_, seen)| seen.goes_by_process);
    for ((_, proxy, namespace, upstream), seen) in &hops {
        // Writing to a String cannot fail.
        let _ = seen.write(&mut out, proxy, *namespace, upstream);
    }
    out
}

impl Seen {
    fn add(&mut self, observation: &Observation<'_>, connections: u64) {
        self.goes_by_process |= observation.process == observation.proxy;
        match observation.verdict.security {
            Security::Plaintext => *self.plaintext.get_or_insert(0) += connections,
            Security::Mtls => *self.mutual.get_or_insert(0) += connections,
            Security::Unknown => self.unknown += connections,
            Security::Tls => {
                *self.one_way.get_or_insert(0) += connections;
                self.unchecked |= observation.verdict.server_verified != ServerVerified::Yes;
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
            Self { plaintext: Some(_), .. } => Require::PlaintextAllowed,
            Self { one_way: Some(_), .. } => Require::Tls,
            Self { mutual: Some(_), .. } => Require::Mtls,
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
            self.mutual.unwrap_or(0),
            self.one_way.unwrap_or(0),
            self.plaintext.unwrap_or(0),
            self.unknown
        )?;
        writeln!(out, "[[policies]]")?;
        writeln!(out, "match.proxy = {}", literal(proxy))?;
        if let Some(namespace) = namespace {
            writeln!(out, "match.namespace = {}", literal(namespace))?;
        }
        writeln!(out, "match.upstream = {}", literal(upstream))?;
        writeln!(out, "require = \"{require}\"")?;
        if require == Require::Tls {
            let verify = if self.unchecked { "never" } else { "unless-mtls" };
            writeln!(out, "verify_upstream = \"{verify}\"")?;
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
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            // Escaped for the pattern, and that again for TOML.
            '*' | '?' | '[' => literal.extend(["\\\\", c.encode_utf8(&mut [0; 4])]),
            '\\' => literal.push_str(r"\\\\"),
            '"' => literal.push_str("\\\""),
            c if c.is_control() => literal.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// Text that cannot end a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}
