mod peer;
mod rule;

use super::*;
use crate::{
    policy::status::Promise,
    workload::{
        leg::Through,
        pod::{PodIdentity, PodSource, Workload},
        pods::{PodRecord, identity},
        selector::Labels,
        services::ServicePort,
    },
};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn name(namespace: &str, name: &str) -> ObjectName {
    (namespace.into(), name.into())
}

/// A pod with these containers and labels.
pub(in super::super) fn pod(
    namespace: &str,
    containers: &[&str],
    pairs: &[(&str, &str)],
) -> PodRecord {
    let labels = labels(pairs);
    let workload = Workload { kind: "Pod".into(), name: "p".into() };
    PodRecord {
        uid: "u".into(),
        static_uid: None,
        identity: identity(namespace, "p", workload, &labels, &[], PodSource::Api),
        containers: containers.iter().map(|one| (String::new(), (*one).into())).collect(),
        labels,
        addresses: Vec::new(),
        ports: vec![("tls".into(), 8443)],
        skipped_ports: Vec::new(),
    }
}

/// What is said, in one line.
pub(in super::super) fn words(said: Option<Said>) -> String {
    let Some(Said { intent, claims }) = said else { return "nothing".to_owned() };
    let all: Vec<_> = claims.iter().map(|claim| claim.promise.as_str()).collect();
    let promised = match claims.first() {
        Some(claim) => {
            assert!(claims.iter().all(|one| one.object == claim.object));
            format!(", {} of {} has it: {}", claim.condition, claim.object, all.join(" "))
        }
        None => String::new(),
    };
    let route = &intent.routes[0];
    format!(
        "{}, certificate {}, verified {}, by {}{promised}",
        intent.scheme(),
        intent.client_certificate(),
        intent.verify(),
        route.at
    )
}

/// A leg from a sidecar in `web` to `payments.shop`, port 443 of the Service and 8443 of its pods.
struct Scene {
    table: IstioTable,
    from: PodIdentity,
    pod: Option<PodRecord>,
    endpoint: Option<PodRecord>,
    /// What its data plane calls the clusters that lead there.
    clusters: Option<Vec<&'static str>>,
    server_name: Option<&'static str>,
}

impl Scene {
    fn new() -> Self {
        let pod = pod("web", &["app", "istio-proxy"], &[("app", "edge")]);
        let endpoint = self::pod(
            "shop",
            &["app", "istio-proxy"],
            &[("app", "payments"), ("version", "v1"), IN_MESH],
        );
        Self {
            table: IstioTable::default(),
            from: PodIdentity { container: Some(PROXY.into()), ..pod.identity.clone() },
            pod: Some(pod),
            endpoint: Some(endpoint),
            clusters: Some(vec![CLUSTER]),
            server_name: None,
        }
    }

    fn rules(mut self, rules: Vec<(&str, &str, DestinationRule)>) -> Self {
        for (namespace, of, rule) in rules {
            self.table.rules.set(name(namespace, of), Some(rule));
        }
        self
    }

    fn peers(mut self, peers: Vec<(&str, &str, PeerAuthentication)>) -> Self {
        for (namespace, of, peer) in peers {
            self.table.peers.set(name(namespace, of), Some(peer));
        }
        self
    }

    fn said(&self) -> Option<Said> {
        let to = ServicePort {
            namespace: "shop".into(),
            service: "payments".into(),
            port: 443,
            port_name: Some("https".into()),
        };
        self.table.said(&Leg {
            from: &self.from,
            pod: self.pod.as_ref(),
            to: &to,
            address: "10.1.0.7:8443".parse().unwrap(),
            endpoint: self.endpoint.as_ref(),
            through: Through { clusters: self.clusters.as_deref(), server_name: self.server_name },
        })
    }
}

fn tls(mode: TlsMode) -> ClientTls {
    ClientTls { mode, ..ClientTls::default() }
}

fn of_host(mode: TlsMode) -> TrafficPolicy {
    TrafficPolicy { tls: Some(tls(mode)), ports: Vec::new() }
}

fn rule(host: &str, mode: TlsMode) -> DestinationRule {
    let policy = Some(of_host(mode));
    DestinationRule { host: host.to_owned(), policy, ..DestinationRule::default() }
}

fn good() -> Conditions {
    Conditions(vec![("Reconciled", true), ("PassedAnalysis", true)])
}

fn peer(mode: PeerMode) -> PeerAuthentication {
    PeerAuthentication { mode, ..PeerAuthentication::default() }
}

const FQDN: &str = "payments.shop.svc.cluster.local";
const CLUSTER: &str = "outbound|443||payments.shop.svc.cluster.local";
const CLUSTER_V1: &str = "outbound|443|v1|payments.shop.svc.cluster.local";
const MUTUAL: &str = "tls, certificate yes, verified yes, by ";
const PLAINTEXT: &str = "plaintext, certificate no, verified no, by ";

#[test]
fn ports_and_subsets_of_a_rule() {
    use TlsMode::{Disable, IstioMutual, Simple};
    let port = |port, mode: Option<TlsMode>| (port, mode.map(tls));
    let subset = |of: &str, policy: TrafficPolicy| Subset {
        name: of.to_owned(),
        labels: labels(&[("version", of)]),
        policy,
    };
    let at_ports = |tls: Option<TlsMode>, ports| TrafficPolicy { tls: tls.map(self::tls), ports };
    let none = TrafficPolicy::default;
    let mutual = format!("{MUTUAL}DestinationRule web/a");
    let plaintext = format!("{PLAINTEXT}DestinationRule web/a");
    let open =
        "unknown, certificate unknown, verified unknown, by DestinationRule web/a".to_owned();
    for (case, policy, subsets, expected) in [
        (
            "the port",
            at_ports(Some(Disable), vec![port(443, Some(IstioMutual))]),
            vec![],
            mutual.clone(),
        ),
        (
            "the port of the workload is not the Service's",
            at_ports(Some(IstioMutual), vec![port(8443, Some(Disable))]),
            vec![],
            mutual.clone(),
        ),
        (
            "a port inherits nothing",
            at_ports(Some(IstioMutual), vec![port(443, None)]),
            vec![],
            "nothing".to_owned(),
        ),
        ("a subset inherits", of_host(IstioMutual), vec![subset("v1", none())], mutual.clone()),
        (
            "a subset that says the same",
            of_host(IstioMutual),
            vec![subset("v1", of_host(IstioMutual))],
            mutual.clone(),
        ),
        (
            "a subset that says otherwise",
            of_host(IstioMutual),
            vec![subset("v1", of_host(Disable))],
            open.clone(),
        ),
        (
            "a subset of other workloads",
            of_host(IstioMutual),
            vec![subset("v2", of_host(Disable))],
            mutual.clone(),
        ),
        (
            "a port of a subset",
            of_host(Disable),
            vec![subset("v1", at_ports(Some(Simple), vec![port(443, Some(Disable))]))],
            plaintext.clone(),
        ),
        (
            "a port of a subset inherits nothing, of its subset neither",
            of_host(Disable),
            vec![subset("v1", at_ports(Some(Disable), vec![port(443, None)]))],
            open.clone(),
        ),
        ("only a subset says something", none(), vec![subset("v1", of_host(Disable))], open),
        ("nothing of TLS", none(), vec![subset("v1", none())], "nothing".to_owned()),
    ] {
        let one = DestinationRule { policy: Some(policy), subsets, ..rule(FQDN, Disable) };
        let mut scene = Scene::new().rules(vec![("web", "a", one)]);
        scene.clusters = Some(vec![CLUSTER, CLUSTER_V1]);
        assert_eq!(words(scene.said()), expected, "{case}");
    }
}

#[test]
fn only_clusters_of_the_service_are_governed() {
    const SNI: &str = "outbound_.443_._.payments.shop.svc.cluster.local";
    const SNI_V1: &str = "outbound_.443_.v1_.payments.shop.svc.cluster.local";
    const SNI_OTHER: &str = "outbound_.443_._.ledger.shop.svc.cluster.local";
    use TlsMode::{Disable, IstioMutual};
    let subset = Subset { name: "v1".to_owned(), policy: of_host(Disable), ..Subset::default() };
    let split = || DestinationRule {
        subsets: vec![subset.clone()],
        conditions: good(),
        ..rule(FQDN, IstioMutual)
    };
    let strict = || PeerAuthentication { conditions: good(), ..peer(PeerMode::Strict) };
    let status = "Reconciled is True, PassedAnalysis is True of";
    let promised = "has it: tls client_certificate verification";
    let mutual =
        &*format!("{MUTUAL}DestinationRule web/a, {status} DestinationRule web/a {promised}");
    let by_peer = &*format!(
        "{MUTUAL}PeerAuthentication shop/n, {status} PeerAuthentication shop/n {promised}"
    );
    let open = "unknown, certificate unknown, verified unknown, by ";
    let (open, open_peer) =
        (&*format!("{open}DestinationRule web/a"), &*format!("{open}PeerAuthentication shop/n"));
    let plaintext = &*format!("{PLAINTEXT}DestinationRule web/a");
    for (case, clusters, server_name, by_rule, by_strict) in [
        ("the host's", Some(vec![CLUSTER]), None, mutual, by_peer),
        ("a subset's", Some(vec![CLUSTER_V1]), None, plaintext, by_peer),
        ("the host's, by its server name", None, Some(SNI), mutual, by_peer),
        ("a subset's, by its server name", None, Some(SNI_V1), plaintext, by_peer),
        ("another's, by its server name", None, Some(SNI_OTHER), "nothing", "nothing"),
        (
            "one of several, by its server name",
            Some(vec![CLUSTER, CLUSTER_V1]),
            Some(SNI),
            mutual,
            by_peer,
        ),
        ("the bootstrap's", Some(vec!["zipkin"]), None, "nothing", "nothing"),
        ("none: it is passed through", Some(vec![]), None, "nothing", "nothing"),
        (
            "another Service's",
            Some(vec!["outbound|443||ledger.shop.svc.cluster.local"]),
            None,
            "nothing",
            "nothing",
        ),
        (
            "another port's",
            Some(vec!["outbound|80||payments.shop.svc.cluster.local"]),
            None,
            "nothing",
            "nothing",
        ),
        ("nobody knows", None, None, open, open_peer),
        ("nobody knows, with another server name", None, Some("payments.test"), open, open_peer),
    ] {
        let within = |scene: Scene| Scene { clusters: clusters.clone(), server_name, ..scene };
        let scene = within(Scene::new().rules(vec![("web", "a", split())]));
        assert_eq!(words(scene.said()), by_rule, "{case}: a rule");
        let scene = within(Scene::new().peers(vec![("shop", "n", strict())]));
        assert_eq!(words(scene.said()), by_strict, "{case}: a workload");
        assert_eq!(words(within(Scene::new()).said()), "nothing", "{case}: nothing");
    }
}

#[test]
fn settings_of_a_rule() {
    use TlsMode::{Mutual, Simple};
    let text = |value: &str| Some(value.to_owned());
    let sidecar = &["app", "istio-proxy", "istio-init"][..];
    let gateway = &["istio-proxy"][..];
    let none = ClientTls::default;
    let credential = || ClientTls { credential: text("client"), ..none() };
    let files = || ClientTls {
        certificate: text("/etc/certs/c.pem"),
        authorities: text("/etc/certs/ca.pem"),
        ..none()
    };
    let skips = || ClientTls { skips_verification: true, ..files() };
    for (case, mode, settings, containers, expected) in [
        ("files", Mutual, files(), sidecar, "certificate yes, verified yes"),
        ("authorities alone", Simple, files(), sidecar, "certificate no, verified yes"),
        ("no authorities", Simple, none(), sidecar, "certificate no, verified unknown"),
        ("no check", Simple, skips(), sidecar, "certificate no, verified no"),
        ("no check, mutual", Mutual, skips(), sidecar, "certificate yes, verified no"),
        ("a secret", Mutual, credential(), gateway, "certificate yes, verified unknown"),
        (
            "a secret with authorities",
            Simple,
            credential(),
            gateway,
            "certificate no, verified yes",
        ),
        ("a sidecar's", Mutual, credential(), sidecar, "certificate unknown, verified unknown"),
        ("nothing", Mutual, none(), gateway, "certificate unknown, verified unknown"),
    ] {
        let mut one = rule(FQDN, mode);
        one.policy =
            Some(TrafficPolicy { tls: Some(ClientTls { mode, ..settings }), ports: vec![] });
        let mut scene = Scene::new().rules(vec![("web", "a", one)]);
        scene.pod = Some(pod("web", containers, &[]));
        let expected = format!("tls, {expected}, by DestinationRule web/a");
        assert_eq!(words(scene.said()), expected, "{case}");
    }
    let names = vec!["a.test".to_owned(), "spiffe://shop/payments".to_owned()];
    let mut one = rule(FQDN, Simple);
    let settings = ClientTls { mode: Simple, names, sni: text("sni.test"), ..files() };
    one.policy = Some(TrafficPolicy { tls: Some(settings), ports: vec![] });
    let said = Scene::new().rules(vec![("web", "a", one)]).said().unwrap();
    let route = &said.intent.routes[0];
    assert_eq!(route.expected_name().and_then(Text::literal), Some("a.test"));
    assert_eq!(route.sent_name().and_then(Text::literal), Some("sni.test"));
    assert_eq!(route.tls.other_names[0].value.literal(), None, "a URI is no host name");
    assert_eq!(said.intent.target.to_string(), "shop/payments:443");
}

#[test]
fn what_a_status_promises() {
    use TlsMode::{Disable, IstioMutual, Simple};
    let with = |conditions: &[(&'static str, bool)], rule: DestinationRule| DestinationRule {
        conditions: Conditions(conditions.to_vec()),
        ..rule
    };
    let promised = |scene: &Scene| -> Vec<Promise> {
        let claims = scene.said().map(|said| said.claims).unwrap_or_default();
        claims.iter().map(|claim| claim.promise).collect()
    };
    let all = &[Promise::Tls, Promise::ClientCertificate, Promise::Verification][..];
    let otherwise = Subset { policy: of_host(Disable), ..Subset::default() };
    let split = DestinationRule { subsets: vec![otherwise], ..rule(FQDN, IstioMutual) };
    for (case, rule, expected) in [
        ("no status", rule(FQDN, IstioMutual), &[][..]),
        ("all proxies have it", with(&[("Reconciled", true)], rule(FQDN, IstioMutual)), all),
        (
            "nothing is wrong with it",
            with(&[("PassedAnalysis", true)], rule(FQDN, IstioMutual)),
            all,
        ),
        (
            "something is",
            with(&[("Reconciled", true), ("PassedAnalysis", false)], rule(FQDN, IstioMutual)),
            &[],
        ),
        ("one-way", with(&[("Reconciled", true)], rule(FQDN, Simple)), &[Promise::Tls]),
        ("no TLS", with(&[("Reconciled", true)], rule(FQDN, Disable)), &[]),
        ("a subset says otherwise", with(&[("Reconciled", true)], split), &[]),
    ] {
        let scene = Scene::new().rules(vec![("web", "a", rule)]);
        assert_eq!(promised(&scene), expected, "{case}");
    }
    let strict = PeerAuthentication { conditions: good(), ..peer(PeerMode::Strict) };
    let scene = Scene::new().peers(vec![("shop", "n", strict)]);
    assert_eq!(
        words(scene.said()),
        format!(
            "{MUTUAL}PeerAuthentication shop/n, Reconciled is True, PassedAnalysis is True of \
             PeerAuthentication shop/n has it: tls client_certificate verification"
        )
    );
}
