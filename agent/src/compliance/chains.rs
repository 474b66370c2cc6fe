//! Chains that upstreams presented, each verified once: a proxy meets the same few over and over.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hopsight_core::{
    policy::{
        certificate::{ChainFinding, Purpose, Trust, by_all_routes, presented},
        intent::UpstreamIntent,
        on_disk::Trusts,
        time::UnixTime,
    },
    report::ConnectionReport,
    tls::{certificate_facts::CertificateFacts, fingerprint::Fingerprint},
};

/// Time that verifying may take of each second: what is beyond is not told. A chain in use takes a
/// millisecond at most, once; one that was made to be costly takes some tens of them.
const MAX_SPENT: Duration = Duration::from_millis(200);
/// Chains that are remembered for each set of CAs and names, as many as certificates of a server.
const MAX_CHAINS: usize = 8;
/// Sets of CAs and names.
const MAX_EXPECTED: usize = 1_024;

/// CAs and names.
type Expected = (Fingerprint, Box<[String]>);

#[derive(Debug)]
pub(super) struct Chains {
    by_expected: HashMap<Expected, Vec<(ChainKey, Arc<ChainFinding>)>>,
    /// What was spent since when.
    spent: Duration,
    since: Instant,
}

/// What tells chains apart whose certificates are all known.
#[derive(Debug, PartialEq, Eq)]
struct ChainKey {
    length: usize,
    fingerprints: Box<[Option<Fingerprint>]>,
}

impl ChainKey {
    fn of(facts: &CertificateFacts) -> Self {
        let issuers = facts.issuers.iter().map(|issuer| Some(issuer.sha256));
        let fingerprints = std::iter::once(facts.sha256).chain(issuers).collect();
        Self { length: facts.chain_length, fingerprints }
    }
}

impl Default for Chains {
    fn default() -> Self {
        Self { by_expected: HashMap::new(), spent: Duration::ZERO, since: Instant::now() }
    }
}

impl Chains {
    /// Where the chain leads that the upstream presented, by what these routes expect; `None` where
    /// none was seen. The handshake was `at` that time.
    pub(super) fn of_server(
        &mut self,
        report: &ConnectionReport,
        intents: &[&UpstreamIntent],
        trusts: &Trusts,
        at: UnixTime,
    ) -> Option<Arc<ChainFinding>> {
        let chain = report.server_chain.as_deref()?;
        let key = || report.server_certificate.as_deref().map(ChainKey::of);
        let verify = |trust: &Arc<Trust>, names: &[String]| {
            let Some(key) = key() else {
                return Arc::new(ChainFinding::unknown("the certificate cannot be read"));
            };
            self.remembered((trust.digest(), names.into()), key, at, || {
                presented(chain, trust, names, Purpose::Server, at)
            })
        };
        Some(by_all_routes(intents, trusts, report.sni.as_deref(), verify))
    }

    fn remembered(
        &mut self,
        expected: Expected,
        key: ChainKey,
        at: UnixTime,
        verify: impl FnOnce() -> ChainFinding,
    ) -> Arc<ChainFinding> {
        let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        if self.by_expected.len() >= MAX_EXPECTED && !self.by_expected.contains_key(&expected) {
            // The few that matter are back with the next handshakes.
            self.by_expected.clear();
        }
        let known = self.by_expected.entry(expected).or_default();
        if let Some((_, found)) = known.iter().find(|(known, _)| *known == key)
            && found.stands.contains(&now)
        {
            return found.clone();
        }
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.spent, self.since) = (Duration::ZERO, Instant::now());
        }
        if self.spent >= MAX_SPENT {
            return Arc::new(ChainFinding::unknown("there are too many other chains to verify"));
        }
        let began_at = Instant::now();
        let found = Arc::new(verify());
        self.spent += began_at.elapsed();
        known.retain(|(known, _)| *known != key);
        if known.len() >= MAX_CHAINS {
            known.remove(0);
        }
        known.push((key, found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::policy::certificate::ChainWord;

    fn key(number: usize) -> ChainKey {
        ChainKey { length: number, fingerprints: Box::default() }
    }

    fn expected(name: &str) -> Expected {
        (Fingerprint::of(b"a CA"), [name.to_owned()].into())
    }

    #[test]
    fn a_chain_is_verified_once_while_its_answer_stands() {
        let mut chains = Chains::default();
        let mut ask = |name: &str, number, at| {
            let mut is_verified = false;
            chains.remembered(expected(name), key(number), UnixTime::from_secs(at), || {
                is_verified = true;
                ChainFinding { answer: ChainWord::Trusted, problem: None, stands: 100..200 }
            });
            is_verified
        };
        for (case, name, number, at, is_verified) in [
            ("the first time", "a", 1, 100, true),
            ("again", "a", 1, 199, false),
            ("after a certificate has ended", "a", 1, 200, true),
            ("another chain", "a", 2, 100, true),
            ("for another name", "b", 1, 100, true),
            ("once more", "a", 2, 150, false),
        ] {
            assert_eq!(ask(name, number, at), is_verified, "{case}");
        }
        for number in 3..=MAX_CHAINS + 3 {
            assert!(ask("a", number, 100), "one of many");
        }
        assert!(ask("a", 2, 150), "it was forgotten");
        assert!(!ask("b", 1, 150), "that of another name was not");
    }

    #[test]
    fn costly_chains_do_not_take_all_the_time() {
        let mut chains = Chains { spent: MAX_SPENT, ..Chains::default() };
        let found =
            chains.remembered(expected("a"), key(1), UnixTime::default(), || unreachable!());
        assert_eq!(found.answer, ChainWord::Unknown);
        chains.since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let verify = || ChainFinding { answer: ChainWord::Trusted, problem: None, stands: 0..9 };
        let found = chains.remembered(expected("a"), key(1), UnixTime::default(), verify);
        assert_eq!(found.answer, ChainWord::Trusted);
    }
}
