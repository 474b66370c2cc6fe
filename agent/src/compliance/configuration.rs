//! One configuration of a proxy, ready to be asked.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::{look::Certificate, names::Names};
use hopsight_core::model::Security;
use hopsight_identity::reading::is_newer;
use hopsight_posture::{
    hops::labels,
    policy::{
        certificate::CertificateFinding,
        intent::{Intent, Remark, Route, Scheme, ServerAddress, Target, Text, UpstreamIntent},
        lookup::{Found, UpstreamIndex},
        time::UnixTime,
    },
    workload::istio::is_of_service,
};

/// The workers of one load do not all start at the same moment.
const ONE_LOAD: Duration = Duration::from_secs(1);
/// Problems of the client certificates of one configuration, and remarks on it, that are logged.
const MAX_TOLD: usize = 16;
/// Characters of a path or a remark that are logged.
const MAX_PATH: usize = 512;

/// Number of a configuration of an instance: those loaded later have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

impl Generation {
    /// That of the configuration loaded next.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// That of the one loaded before, if there was one.
    pub(super) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// One configuration as it was loaded.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) intent: Arc<Intent>,
    /// When it was first loaded: loading it again without a change does not make it another.
    pub(super) loaded_at: Option<UnixTime>,
    /// When its files had been changed by then.
    pub(super) changed_at: Option<UnixTime>,
    /// It is known not to be what runs.
    pub(super) is_other: bool,
    /// It shows which clusters a proxy of Istio has for Services.
    has_service_clusters: bool,
    index: UpstreamIndex,
    /// The upstreams of each stable name, by the label that it makes.
    by_label: HashMap<Arc<str>, Vec<usize>>,
    /// The labels its upstreams have.
    labels: HashSet<Arc<str>>,
    /// Per upstream the client certificate its first TLS route names.
    pub(super) certificates: Vec<Certificate>,
    /// About how many bytes it takes in memory.
    pub(super) size: usize,
}

impl Configuration {
    /// What was read, loaded then.
    pub(super) fn new(intent: Intent, certificates: Vec<Certificate>, loaded_at: UnixTime) -> Self {
        let mut by_label: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, upstream) in intent.upstreams.iter().enumerate() {
            if let Some(name) = upstream.stable_name() {
                by_label.entry(labels::label(&name)).or_default().push(at);
            }
        }
        let addresses = intent.upstreams.iter().filter_map(|one| match &one.target {
            Target::Address(ServerAddress::Ip(address)) => Some(labels::address(*address)),
            _ => None,
        });
        Self {
            labels: addresses.chain(by_label.keys().cloned()).collect(),
            size: intent.size(),
            has_service_clusters: intent.upstreams.iter().any(|one| is_of_service(name_of(one))),
            intent: Arc::new(intent),
            loaded_at: Some(loaded_at),
            changed_at: None,
            is_other: false,
            index: UpstreamIndex::default(),
            by_label,
            certificates,
        }
    }

    /// Whether a worker that started then runs an older one: it began well before this was loaded, or
    /// before the files said this.
    pub(super) fn is_newer_than(&self, started_at: UnixTime) -> bool {
        let Some(loaded_at) = self.loaded_at else { return false };
        began_before(started_at, loaded_at)
            || self.changed_at.is_some_and(|changed_at| is_newer(changed_at, started_at))
    }

    /// The upstreams a connection may belong to.
    pub(super) fn find(&self, to: SocketAddr, server_name: Option<&str>) -> Vec<usize> {
        match self.index.find(to, server_name) {
            Found::One(at) => vec![at],
            Found::Several(several) => several,
            Found::None => Vec::new(),
        }
    }

    /// The clusters among these upstreams that may have opened a connection, by their names. `None` where
    /// it does not show which clusters the proxy has for Services.
    pub(super) fn clusters(&self, found: &[usize], seen: &Seen<'_>) -> Option<Vec<&str>> {
        let found = found.iter().map(|&at| self.upstream(at));
        let may_have = |one: &&UpstreamIntent| seen.may_be_of(one);
        self.has_service_clusters.then(|| found.filter(may_have).map(name_of).collect())
    }

    /// The upstreams of a label.
    pub(super) fn named(&self, label: &str) -> impl Iterator<Item = &UpstreamIntent> {
        let positions = self.by_label.get(label).into_iter().flatten();
        positions.map(|&at| self.upstream(at))
    }

    /// Since when it says what it says.
    pub(super) const fn loaded_at(&self) -> Option<UnixTime> {
        self.loaded_at
    }

    /// An upstream that [`Configuration::find`] has found.
    pub(super) fn upstream(&self, at: usize) -> &UpstreamIntent {
        &self.intent.upstreams[at]
    }

    /// The client certificate that is configured for it.
    pub(super) fn client_certificate(&self, at: usize) -> Option<&Arc<CertificateFinding>> {
        self.certificates.get(at)?.as_ref()
    }

    /// The labels its upstreams have.
    pub(super) const fn labels(&self) -> &HashSet<Arc<str>> {
        &self.labels
    }

    /// The host names in it.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let servers = self.intent.upstreams.iter().flat_map(|upstream| &upstream.servers);
        servers.filter_map(|server| match &server.address {
            ServerAddress::Host(host, _) => Some(host.as_str()),
            ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
        })
    }

    /// Logs what is wrong with its certificates, and what is remarked on it.
    pub(super) fn tell(&self, proxy: &str) {
        let findings = self.certificates.iter().flatten();
        let problems: BTreeSet<_> = findings.flat_map(|finding| &finding.problems).collect();
        for problem in problems.into_iter().take(MAX_TOLD) {
            tracing::warn!(proxy, "client certificate: {problem}");
        }
        for Remark { at, text } in self.intent.remarks.iter().take(MAX_TOLD) {
            let at = at.to_string();
            let (at, text) = (labels::printable(&at, MAX_PATH), labels::printable(text, MAX_PATH));
            tracing::info!(proxy, "{at}: {text}");
        }
    }

    /// Indexes the upstreams by what is known of their names.
    pub(super) fn name(&mut self, names: &Names) {
        self.index = UpstreamIndex::new(&self.intent, &|host| names.addresses(host));
    }
}

/// What was seen of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) to: SocketAddr,
    pub(super) security: Security,
    pub(super) server_name: Option<&'a str>,
}

impl Seen<'_> {
    /// Whether an upstream is spoken to in this way: none with TLS in the clear, and with TLS only under
    /// the server name that is sent.
    fn may_be_of(&self, upstream: &UpstreamIntent) -> bool {
        let shows = |route: &Route| match (route.scheme, self.security) {
            (Scheme::Tls, Security::Plaintext) => false,
            (Scheme::Tls, Security::Tls | Security::Mtls) => match route.sent_name() {
                Some(Text::Literal(name)) => {
                    self.server_name.is_some_and(|sent| sent.eq_ignore_ascii_case(name))
                }
                Some(Text::Variable(_)) => true,
                None => self.server_name.is_none(),
            },
            _ => true,
        };
        upstream.toward(self.to).routes.iter().any(shows)
    }
}

/// The name of a group of servers; none of anything else.
fn name_of(upstream: &UpstreamIntent) -> &str {
    match &upstream.target {
        Target::Group(name) => name,
        Target::Address(_) | Target::Variable(_) => "",
    }
}

/// Whether a worker that started then runs another configuration than the one loaded at `loaded_at`.
pub(super) fn began_before(started_at: UnixTime, loaded_at: UnixTime) -> bool {
    started_at + ONE_LOAD < loaded_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_identity::envoy;

    #[test]
    fn a_worker_runs_what_was_there_when_it_started() {
        let at = |seconds: f64| UnixTime::from_secs_f64(1_000.0 + seconds);
        for (case, started_at, loaded_at, expected) in [
            ("with the load", 0.0, Some(0.0), false),
            ("beside the newest of the load", -0.4, Some(0.0), false),
            ("as the files were changed", -0.51, Some(0.0), false),
            ("before the files were changed", -0.6, Some(0.0), true),
            ("long before", -9.0, Some(0.0), true),
            ("nobody knows when it was loaded", -9.0, None, false),
        ] {
            let mut configuration = configuration(&[]);
            configuration.loaded_at = loaded_at.map(at);
            configuration.changed_at = loaded_at.map(|_| at(-0.5));
            assert_eq!(configuration.is_newer_than(at(started_at)), expected, "{case}");
        }
    }

    /// A bootstrap with a cluster of each of these names, whose TLS, if any, sends this name.
    fn configuration(clusters: &[(&str, Option<&str>)]) -> Configuration {
        let cluster = |(name, sni): &(&str, Option<&str>)| {
            let kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
            let socket = sni.map_or(String::new(), |sni| {
                format!(
                    r#", "transport_socket": {{"name": "t", "typed_config":
                    {{"@type": "type.googleapis.com/{kind}", "sni": "{sni}"}}}}"#
                )
            });
            format!(r#"{{"name": "{name}", "type": "STATIC"{socket}}}"#)
        };
        let clusters: Vec<_> = clusters.iter().map(cluster).collect();
        let text = format!(r#"{{"static_resources": {{"clusters": [{}]}}}}"#, clusters.join(","));
        let intent = envoy::read_file(text.as_bytes(), "envoy.json").unwrap();
        Configuration::new(intent, Vec::new(), UnixTime::default())
    }

    #[test]
    fn clusters_are_those_that_speak_so() {
        use Security::{Mtls, Plaintext, Tls, Unknown};
        const CLEAR: &str = "outbound|80||a.shop.svc.cluster.local";
        const NAMED: &str = "outbound|443||b.shop.svc.cluster.local";
        const BARE: &str = "outbound|444||c.shop.svc.cluster.local";
        let configuration =
            configuration(&[(CLEAR, None), (NAMED, Some("b.test")), (BARE, Some(""))]);
        for (case, security, server_name, expected) in [
            ("in the clear", Plaintext, None, &[CLEAR][..]),
            ("under its name", Mtls, Some("B.test"), &[CLEAR, NAMED]),
            ("under another name", Tls, Some("d.test"), &[CLEAR]),
            ("under none", Tls, None, &[CLEAR, BARE]),
            ("nobody knows how", Unknown, None, &[CLEAR, NAMED, BARE]),
        ] {
            let seen = Seen { to: "10.0.0.1:443".parse().unwrap(), security, server_name };
            let found = configuration.clusters(&[0, 1, 2], &seen);
            assert_eq!(found.as_deref(), Some(expected), "{case}");
        }
        let seen =
            Seen { to: "10.0.0.1:443".parse().unwrap(), security: Unknown, server_name: None };
        let bootstrap = self::configuration(&[("xds-grpc", None)]);
        assert_eq!(bootstrap.clusters(&[0], &seen), None, "a bootstrap shows no Services");
    }
}
