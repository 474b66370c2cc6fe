//! `hopsight policy check --against`: what a policy file means for hops that are there.

use std::{
    collections::{BTreeSet, HashMap},
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::cli::client::{Agent, Trust};
use hopsight_posture::{
    hops::table::Snapshot,
    policy::{
        drift::Rule,
        exempt::{Exemption, PolicyDocument},
        rules::Policy,
    },
};

/// Largest saved answer that is read: some hundred thousand hops.
const MAX_BYTES: u64 = 1 << 30;

/// Where hops are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hops {
    /// A saved answer to `/hops`.
    File(PathBuf),
    /// An agent.
    Agent(String),
}

impl Hops {
    /// A file, if there is one of this name; else an address, with or without `/hops`.
    pub fn find(place: &str) -> Self {
        if Path::new(place).exists() || !(place.contains("://") || place.contains(':')) {
            return Self::File(place.into());
        }
        Self::Agent(place.trim_end_matches('/').trim_end_matches("/hops").to_owned())
    }

    /// The hops that are there.
    ///
    /// # Errors
    /// The file cannot be read or the agent does not answer, or it is something else.
    pub fn read(self, trust: &Trust) -> anyhow::Result<Snapshot> {
        let (json, place) = match self {
            Self::File(path) => {
                let mut text = String::new();
                std::fs::File::open(&path)
                    .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
                    .with_context(|| format!("read {}", path.display()))?;
                (text, path.display().to_string())
            }
            Self::Agent(address) => {
                let agent = Agent { address: address.clone(), trust: trust.clone() };
                (agent.get("/hops")?, address)
            }
        };
        serde_json::from_str(&json)
            .with_context(|| format!("understand {place} as an answer to /hops"))
    }
}

/// A line per policy with the number of hops that it applies to, and what is wrong with that.
pub fn compare(document: &PolicyDocument, snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let mut matched: HashMap<&str, usize> = HashMap::new();
    let mut exempt: HashMap<&str, usize> = HashMap::new();
    for hop in &snapshot.hops {
        // Of the servers of a hop, policies by network or port may match some only.
        let mut policies: BTreeSet<&str> = BTreeSet::new();
        let mut exemptions: BTreeSet<&str> = BTreeSet::new();
        for subject in hop.subjects() {
            policies.insert(&document.policies.find(&subject).name);
            let matching = document.exemptions.iter().filter(|one| one.matches.matches(&subject));
            exemptions.extend(matching.map(|one| one.name.as_str()));
        }
        for (names, counts) in [(policies, &mut matched), (exemptions, &mut exempt)] {
            for name in names {
                *counts.entry(name).or_default() += 1;
            }
        }
    }
    let count = |counts: &HashMap<&str, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
    let policy = |one: &Policy| (one.line, "policy", one.name.clone(), count(&matched, &one.name));
    let exemption = |one: &Exemption| {
        let rules: Vec<_> = one.rules.iter().copied().map(Rule::as_str).collect();
        let name = format!("{} ({})", one.name, rules.join(", "));
        (one.line, "exemption", name, count(&exempt, &one.name))
    };
    let mut rows: Vec<_> = document.policies.own().map(policy).collect();
    rows.extend(document.exemptions.iter().map(|one| exemption(one)));
    rows.sort();
    let all = snapshot.hops.len();
    let lines = rows
        .iter()
        .map(|(line, kind, name, hops)| format!("{line}: {kind} {name}: {hops} of {all} hops"));
    let idle = rows.iter().filter(|(.., hops)| *hops == 0);
    let mut problems: Vec<_> = idle
        .map(|(line, kind, name, _)| format!("{line}: {kind} {name} matches none of {all} hops"))
        .collect();
    if all == 0 {
        problems.insert(0, "there are no hops to compare with".to_owned());
    }
    (lines.collect(), problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::model::Security;
    use hopsight_posture::hops::{
        context::HopContext,
        table::{HopLimits, HopTable},
        testing::{at, report, to},
    };

    const POLICY: &str = r#"
[[policies]]
name = "edge"
match.proxy = "openresty"
match.upstream = "payments"
require = "mtls"

[[policies]]
name = "typo"
match.upstream = "paymnets"
require = "mtls"

[[exempt]]
name = "mainframe"
match.port = 80
rules = ["plaintext"]
owner = "payments"
reason = "soon"
until = 2027-03-31
"#;

    fn snapshot() -> Snapshot {
        let mut table = HopTable::new(HopLimits::default());
        table.record(&report(1, Security::Mtls), at(1.0));
        table.record(&to(report(2, Security::Plaintext), "10.0.0.2:80"), at(1.0));
        let context = HopContext {
            name: Some("payments".into()),
            process: Some("openresty".into()),
            ..HopContext::default()
        };
        table.describe(&"nginx".into(), &"10.0.0.1:443".into(), |_| context, at(1.0));
        table.snapshot(2.0).sorted()
    }

    #[test]
    fn what_matches_nothing_is_told() {
        let document = PolicyDocument::parse(POLICY).unwrap();
        let (lines, problems) = compare(&document, &snapshot());
        let want = [
            "2: policy edge: 1 of 2 hops",
            "8: policy typo: 0 of 2 hops",
            "13: exemption mainframe (plaintext): 1 of 2 hops",
        ];
        assert_eq!(lines, want);
        assert_eq!(problems, ["8: policy typo matches none of 2 hops"]);
        let (_, problems) = compare(&document, &Snapshot::default());
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(problems[0], "there are no hops to compare with");
    }

    #[test]
    fn hops_are_found_where_they_are() {
        let saved = tempfile::NamedTempFile::new().unwrap();
        let path = saved.path().to_str().unwrap();
        let agent = |address: &str| Hops::Agent(address.to_owned());
        for (place, want) in [
            (path, Hops::File(path.into())),
            ("hops.json", Hops::File("hops.json".into())),
            ("127.0.0.1:9464", agent("127.0.0.1:9464")),
            ("https://node-1:9464/hops", agent("https://node-1:9464")),
            ("http://node-1:9464/", agent("http://node-1:9464")),
        ] {
            assert_eq!(Hops::find(place), want, "{place}");
        }
        std::fs::write(path, serde_json::to_string(&snapshot()).unwrap()).unwrap();
        let read = Hops::find(path).read(&Trust::default()).unwrap();
        assert_eq!(read.hops.len(), 2);
    }
}
