//! Certificates and cryptography in use, as an inventory: a line for each hop and certificate, and for
//! each hop and what its connections used. A hop of which something is not known has a line that says
//! so.

pub(crate) mod csv;
mod cyclonedx;
pub(crate) mod html;
mod lines;
mod merged;

use serde::Serialize;

use hopsight_core::tls::cryptography::PostQuantum;
use hopsight_posture::hops::table::Snapshot;

pub use self::lines::{CertificateLine, CryptographyLine, HopName, Role, Use};
use crate::time;

/// Hops as they were at one moment, and where they come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The agent's address, or the name of a file.
    pub name: String,
    /// Its hops.
    pub hops: Snapshot,
}

/// Where hops of the inventory come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceLine {
    /// The agent's address, or the name of a file.
    pub source: String,
    /// When its hops were as they are here, RFC 3339.
    pub at: String,
    /// How many there are.
    pub hops: usize,
}

/// Hops by whether all that they use is safe from a quantum computer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Every connection that was seen had keys that are.
    pub post_quantum: usize,
    /// Some had, some had not.
    pub mixed: usize,
    /// None had.
    pub classical: usize,
    /// Connections in the clear were seen.
    pub plaintext: usize,
    /// It is not known.
    pub unknown: usize,
}

/// Certificates and cryptography in use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// Where it comes from.
    pub sources: Vec<SourceLine>,
    /// Hops by whether they are ready for quantum computers.
    pub readiness: Readiness,
    /// A line for each hop and certificate.
    pub certificates: Vec<CertificateLine>,
    /// A line for each hop and what its connections used.
    pub cryptography: Vec<CryptographyLine>,
}

impl Inventory {
    /// The inventory of these hops: by source, proxy and upstream.
    #[must_use]
    pub fn of(sources: Vec<Source>) -> Self {
        let mut inventory = Self {
            sources: Vec::with_capacity(sources.len()),
            readiness: Readiness::default(),
            certificates: Vec::new(),
            cryptography: Vec::new(),
        };
        for Source { name, hops } in sources {
            let hops = hops.sorted();
            inventory.sources.push(SourceLine {
                source: name.clone(),
                at: time::rfc3339(hops.at),
                hops: hops.hops.len(),
            });
            for hop in &hops.hops {
                inventory.certificates.extend(lines::certificates(&name, hop));
                let used = lines::cryptography(&name, hop);
                inventory.readiness.count(&used);
                inventory.cryptography.extend(used);
            }
        }
        inventory
    }

    /// As JSON, indented.
    ///
    /// # Errors
    /// Never: it has a JSON form.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// As one table, RFC 4180: `kind` says whether a line is a certificate's or cryptography's.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn csv(&self) -> anyhow::Result<String> {
        csv::table(self)
    }

    /// As a page that loads nothing from elsewhere, written at `now` (seconds since the Unix epoch).
    #[must_use]
    pub fn html(&self, now: f64) -> String {
        html::page(self, now)
    }

    /// As a CycloneDX 1.7 cryptography bill of materials (CBOM), written at `now` (seconds since the
    /// Unix epoch).
    ///
    /// # Errors
    /// Never: it has a JSON form.
    pub fn cyclonedx(&self, now: f64) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&cyclonedx::document(self, now))? + "\n")
    }
}

impl Readiness {
    /// Counts a hop with these lines.
    fn count(&mut self, used: &[CryptographyLine]) {
        let is = |wanted: &dyn Fn(PostQuantum) -> bool| {
            used.iter().any(|line| line.post_quantum.is_some_and(wanted))
        };
        let has_plaintext = used.iter().any(|line| line.post_quantum.is_none());
        let (yes, no, unknown) = (
            is(&|word| word == PostQuantum::Yes),
            is(&|word| !matches!(word, PostQuantum::Yes | PostQuantum::Unknown)),
            is(&|word| word == PostQuantum::Unknown),
        );
        let counted = match (yes, no) {
            _ if has_plaintext => &mut self.plaintext,
            (true, true) => &mut self.mixed,
            (false, true) => &mut self.classical,
            (true, false) if !unknown => &mut self.post_quantum,
            (_, false) => &mut self.unknown,
        };
        *counted += 1;
    }
}

/// Who decided that keys are not post-quantum, for people.
#[must_use]
pub const fn why(word: PostQuantum) -> &'static str {
    match word {
        PostQuantum::Yes => "its keys are post-quantum",
        PostQuantum::NotOffered => "the proxy never offered a post-quantum group",
        PostQuantum::NotSelected => "the proxy offered one, and the upstream chose otherwise",
        PostQuantum::ProxyBelowTls13 => "the proxy does not offer TLS 1.3",
        PostQuantum::UpstreamBelowTls13 => "the upstream chose a version before TLS 1.3",
        PostQuantum::Unknown => "the handshake that began the session was not seen",
    }
}

#[cfg(test)]
mod tests;
