//! What was found of the certificates that both sides presented, each chain looked at once: a proxy
//! meets the same few over and over.

use std::{
    collections::HashMap,
    hash::Hash,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::lists::ListDirectory;
use hopsight_core::{
    health::ComponentState,
    model::ServerVerified,
    report::ConnectionReport,
    tls::{certificate_facts::CertificateFacts, fingerprint::Fingerprint},
};
use hopsight_posture::hops::evaluation::Evaluation;
use hopsight_posture::policy::{
    certificate::{
        ChainFinding, ChainWord, Purpose, Revocation, RevocationFinding, Revoked, Shown, Standing,
        Trust, Trusts, by_all_routes, presented, revocation,
    },
    identities::{Identities, Keys, Newer},
    intent::{Route, UpstreamIntent},
    observation::Observation,
    on_disk::OnDisk,
    time::UnixTime,
};

/// Time that verifying may take of each second: what is beyond is not told. A chain in use takes a
/// millisecond at most, once; one that was made to be costly takes some tens of them.
const MAX_SPENT: Duration = Duration::from_millis(200);
/// Chains that are remembered for each of what they are held against, as many as certificates of a
/// server.
const MAX_CHAINS: usize = 8;
/// Things they are held against.
const MAX_EXPECTED: usize = 1_024;

/// What was found of the certificates of a connection.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where the upstream's chain leads.
    pub(super) server_chain: Option<Arc<ChainFinding>>,
    /// Whether the upstream's certificate and the proxy's are revoked.
    pub(super) revocation: [Option<Revocation>; 2],
    /// In a full handshake, nobody has lists and no response came along.
    pub(super) is_unlisted: bool,
    /// Another identity with the key of the upstream's certificate, and of the proxy's.
    pub(super) key_shared_with: [Option<Box<str>>; 2],
    /// Who presents a newer certificate of the upstream's identity.
    pub(super) newer_elsewhere: Option<Newer>,
}

impl Found {
    /// What a hop keeps of it.
    pub(super) fn evaluation(&self) -> Evaluation {
        Evaluation {
            chain: self.server_chain.as_ref().map(|found| found.answer),
            revocation: self.revocation.clone(),
            is_unlisted: self.is_unlisted,
            ..Evaluation::default()
        }
    }

    /// Puts it beside what the connection said itself.
    pub(super) fn fill<'a>(&'a self, seen: &mut Observation<'a>) {
        seen.server_chain = self.server_chain.as_deref();
        seen.revocation = self.revocation.each_ref().map(Option::as_ref);
        seen.key_shared_with = self.key_shared_with.each_ref().map(Option::as_deref);
        seen.newer_elsewhere = self.newer_elsewhere;
    }
}

/// What they are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Against<'a> {
    /// The routes that the connection may have taken.
    pub(super) intents: &'a [&'a UpstreamIntent],
    /// The CA files of the configuration.
    pub(super) trusts: &'a Trusts,
    /// What else the files say that it names.
    pub(super) on_disk: Option<&'a OnDisk>,
    /// When the handshake was.
    pub(super) at: UnixTime,
}

/// What was found lately, and the operator's revocation lists.
#[derive(Debug)]
pub(super) struct Chains {
    /// By CAs and names.
    verified: Memory<(Fingerprint, Box<[String]>), ChainFinding>,
    /// By purpose, whether it is trusted, CAs and lists.
    revocations: Memory<(Purpose, Standing, Box<[Fingerprint]>), RevocationFinding>,
    identities: Identities,
    keys: Keys,
    lists: ListDirectory,
    budget: Budget,
}

impl Chains {
    /// Nothing was found yet.
    pub(super) fn new(lists: ListDirectory) -> Self {
        Self {
            verified: Memory::default(),
            revocations: Memory::default(),
            identities: Identities::default(),
            keys: Keys::default(),
            lists,
            budget: Budget::default(),
        }
    }

    /// The operator's revocation lists.
    pub(super) const fn lists(&mut self) -> &mut ListDirectory {
        &mut self.lists
    }

    /// The state of that, for `/readyz`.
    pub(super) fn health(&self) -> Option<(ComponentState, String)> {
        self.lists.health()
    }

    /// Looks at what both sides presented.
    pub(super) fn look(&mut self, report: &ConnectionReport, against: Against<'_>) -> Found {
        let own = against.on_disk.and_then(|on_disk| on_disk.revoked.as_ref());
        let lists: Vec<_> = own.into_iter().chain(self.lists.all()).cloned().collect();
        let server_chain = self.server_chain(report, against);
        let standing = match server_chain.as_ref().map(|found| found.answer) {
            Some(word) if word.is_broken() => Standing::Broken,
            Some(ChainWord::Trusted) => Standing::Trusted,
            _ if report.verdict.server_verified == ServerVerified::Yes => Standing::Trusted,
            _ => Standing::Unknown,
        };
        let revocation = [(Purpose::Server, standing), (Purpose::Client, Standing::Unknown)]
            .map(|(side, standing)| self.revocation(report, against, &lists, side, standing));
        let has_staple = report.server_staple.is_some();
        let is_unlisted = lists.is_empty() && !has_staple && report.resumed == Some(false);
        // Before a handshake is completed nobody has proven to have the key of a certificate.
        let is_proven = report.is_established();
        let server = report.server_certificate.as_deref().filter(|_| is_proven);
        let newer = |facts| self.identities.note(facts, report.destination, against.at);
        let newer_elsewhere = server.filter(|_| standing != Standing::Broken).and_then(newer);
        let client = report.client_certificate.as_deref().filter(|_| is_proven);
        let key_shared_with = [server, client].map(|facts| self.keys.note(facts?, against.at));
        Found { server_chain, revocation, is_unlisted, key_shared_with, newer_elsewhere }
    }

    fn server_chain(
        &mut self,
        report: &ConnectionReport,
        against: Against<'_>,
    ) -> Option<Arc<ChainFinding>> {
        let Against { intents, trusts, at, .. } = against;
        let chain = report.server_chain.as_deref()?;
        let facts = report.server_certificate.as_deref()?;
        let verify = |trust: &Arc<Trust>, names: &[String]| {
            let (expected, key) = ((trust.digest(), names.into()), ChainKey::of(facts));
            let find = || presented(chain, trust, names, Purpose::Server, at);
            let found = self.verified.find_or(expected, key, at, &mut self.budget, find);
            found.unwrap_or_else(|| {
                Arc::new(ChainFinding::unknown("there are too many other chains to verify"))
            })
        };
        Some(by_all_routes(intents, trusts, report.sni.as_deref(), verify))
    }

    /// `None` where nothing was presented, nobody has lists and no response came along, or there is no
    /// time.
    fn revocation(
        &mut self,
        report: &ConnectionReport,
        against: Against<'_>,
        lists: &[Arc<Revoked>],
        purpose: Purpose,
        standing: Standing,
    ) -> Option<Revocation> {
        let Against { intents, trusts, at, .. } = against;
        let (facts, chain) = match purpose {
            Purpose::Server => (report.server_certificate.as_deref()?, &report.server_chain),
            Purpose::Client => (report.client_certificate.as_deref()?, &report.client_chain),
        };
        let staple = report.server_staple.as_deref().filter(|_| purpose == Purpose::Server);
        if lists.is_empty() && staple.is_none() {
            return None;
        }
        let routes = intents.iter().flat_map(|one| one.routes.iter().chain(&*one.by_variable));
        let file =
            |route: &Route| trusts.get(&route.tls.trusted_certificate.as_ref()?.value).cloned();
        let mut trusted: Vec<Arc<Trust>> = routes.filter_map(file).collect();
        trusted.dedup();
        let digests = trusted.iter().map(|trust| trust.digest());
        let digests = digests.chain(lists.iter().map(|list| list.digest()));
        let digests = digests.chain(staple.map(Fingerprint::of)).collect();
        let shown = Shown { facts, chain: chain.as_deref(), purpose, staple, standing };
        let find = || revocation(shown, &trusted, lists, at);
        let key = ChainKey::of(facts);
        let found = self.revocations.find_or(
            (purpose, standing, digests),
            key,
            at,
            &mut self.budget,
            find,
        )?;
        Some(found.says.clone())
    }
}

/// Something that stands for a while.
trait Stands {
    /// At which times, in seconds since the Unix epoch.
    fn stands(&self) -> &Range<i64>;
}

impl Stands for ChainFinding {
    fn stands(&self) -> &Range<i64> {
        &self.stands
    }
}

impl Stands for RevocationFinding {
    fn stands(&self) -> &Range<i64> {
        &self.stands
    }
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

/// The findings on chains, by what they were held against.
#[derive(Debug)]
struct Memory<Expected, Finding> {
    known: HashMap<Expected, Vec<(ChainKey, Arc<Finding>)>>,
}

impl<Expected, Finding> Default for Memory<Expected, Finding> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<Expected: Eq + Hash, Finding: Stands> Memory<Expected, Finding> {
    /// What is known, or is found now; `None` where there is no time for that.
    fn find_or(
        &mut self,
        expected: Expected,
        key: ChainKey,
        at: UnixTime,
        budget: &mut Budget,
        find: impl FnOnce() -> Finding,
    ) -> Option<Arc<Finding>> {
        let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        if self.known.len() >= MAX_EXPECTED && !self.known.contains_key(&expected) {
            // The few that matter are back with the next handshakes.
            self.known.clear();
        }
        let known = self.known.entry(expected).or_default();
        if let Some((_, found)) = known.iter().find(|(known, _)| *known == key)
            && found.stands().contains(&now)
        {
            return Some(found.clone());
        }
        let found = Arc::new(budget.spend(find)?);
        known.retain(|(known, _)| *known != key);
        if known.len() >= MAX_CHAINS {
            known.remove(0);
        }
        known.push((key, found.clone()));
        Some(found)
    }
}

/// The time that verifying may take.
#[derive(Debug)]
struct Budget {
    spent: Duration,
    since: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self { spent: Duration::ZERO, since: Instant::now() }
    }
}

impl Budget {
    /// Does it, if there is time left.
    fn spend<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::default();
        }
        let began_at = Instant::now();
        let done = (self.spent < MAX_SPENT).then(work);
        self.spent += began_at.elapsed();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> ChainKey {
        ChainKey { length: number, fingerprints: Box::default() }
    }

    fn finding() -> ChainFinding {
        ChainFinding { answer: ChainWord::Trusted, problem: None, stands: 100..200 }
    }

    #[test]
    fn a_chain_is_verified_once_while_its_answer_stands() {
        let mut chains = Memory::default();
        let mut ask = |name: &'static str, number, at| {
            let mut is_verified = false;
            let verify = || {
                is_verified = true;
                finding()
            };
            let at = UnixTime::from_secs(at);
            chains.find_or(name, key(number), at, &mut Budget::default(), verify).unwrap();
            is_verified
        };
        for (case, name, number, at, is_verified) in [
            ("the first time", "a", 1, 100, true),
            ("again", "a", 1, 199, false),
            ("after a certificate has ended", "a", 1, 200, true),
            ("another chain", "a", 2, 100, true),
            ("against something else", "b", 1, 100, true),
            ("once more", "a", 2, 150, false),
        ] {
            assert_eq!(ask(name, number, at), is_verified, "{case}");
        }
        for number in 3..=MAX_CHAINS + 3 {
            assert!(ask("a", number, 100), "one of many");
        }
        assert!(ask("a", 2, 150), "it was forgotten");
        assert!(!ask("b", 1, 150), "that of another was not");
    }

    #[test]
    fn costly_chains_do_not_take_all_the_time() {
        let mut budget = Budget { spent: MAX_SPENT, ..Budget::default() };
        assert_eq!(budget.spend(|| ()), None);
        budget.since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(budget.spend(|| ()), Some(()));
    }
}
