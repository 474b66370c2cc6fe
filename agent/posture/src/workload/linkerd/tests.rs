use super::{
    super::{
        istio::tests::{pod, words},
        leg::Through,
        selector::Requirement,
        services::ServicePort,
    },
    *,
};

fn name(of: &str) -> ObjectName {
    ("shop".into(), of.into())
}

fn selector(app: &str) -> Selector {
    let labels = [("app".to_owned(), app.to_owned())].into();
    Selector { labels, expressions: Vec::new() }
}

fn server(app: &str, port: u16, access: Access) -> Server {
    let port = Some(ServerPort::Number(port));
    Server { labels: selector("s").labels, pods: Some(selector(app)), port, access }
}

fn policy(target: AuthorizationTarget, required: &[Authentication]) -> AuthorizationPolicy {
    AuthorizationPolicy { target, required: required.to_vec() }
}

/// What is said of a leg from a proxy of the mesh to port 8443 of a pod of it.
fn said(table: &LinkerdTable, container: &str, endpoint: &PodRecord) -> String {
    let mut from = pod("web", &[PROXY], &[]).identity;
    from.container = Some(container.into());
    let to = ServicePort {
        namespace: "shop".into(),
        service: "payments".into(),
        port: 443,
        port_name: None,
    };
    words(table.said(&Leg {
        from: &from,
        pod: None,
        to: &to,
        address: "10.1.0.7:8443".parse().unwrap(),
        endpoint: Some(endpoint),
        through: Through::default(),
    }))
}

fn payments() -> PodRecord {
    pod("shop", &["app", PROXY], &[("app", "payments")])
}

/// What is said of a leg to port 8443 of `payments`, by the Server `s` and the policies `a` and `b`.
fn of(server: Server, policies: Vec<AuthorizationPolicy>) -> String {
    let mut table = LinkerdTable::default();
    table.servers.set(name("s"), Some(server));
    table.authentications.set(name("clients"), Some(()));
    for (of, policy) in ["a", "b"].into_iter().zip(policies) {
        table.policies.set(name(of), Some(policy));
    }
    assert_eq!(said(&table, "app", &payments()), "nothing", "what is no proxy");
    let bare = pod("shop", &["app"], &[("app", "payments")]);
    assert_eq!(said(&table, PROXY, &bare), "nothing", "a pod without a proxy");
    said(&table, PROXY, &payments())
}

#[test]
fn who_may_connect_to_a_server() {
    use AuthorizationTarget::{Namespace, Other};
    let of_server = || AuthorizationTarget::Server("s".to_owned());
    let deny = || server("payments", 8443, Access::Nobody);
    let mesh = || Authentication::MeshTls(name("clients"));
    let gone = || Authentication::MeshTls(name("gone"));
    let network = || Authentication::Other;
    let by = |what: &str| format!("tls, certificate yes, verified yes, by {what}");
    let none = || "nothing".to_owned();
    let by_policy = || by("AuthorizationPolicy shop/a");
    for (case, server, policies, expected) in [
        ("nobody may", deny(), vec![], none()),
        ("an identity", deny(), vec![policy(of_server(), &[mesh()])], by_policy()),
        (
            "a service account",
            deny(),
            vec![policy(of_server(), &[Authentication::ServiceAccount])],
            by_policy(),
        ),
        (
            "an identity and an address",
            deny(),
            vec![policy(of_server(), &[network(), mesh()])],
            by_policy(),
        ),
        ("an address", deny(), vec![policy(of_server(), &[network()])], none()),
        ("nothing at all", deny(), vec![policy(of_server(), &[])], none()),
        (
            "an identity, or an address",
            deny(),
            vec![policy(of_server(), &[mesh()]), policy(of_server(), &[network()])],
            none(),
        ),
        (
            "an authentication that is not there",
            deny(),
            vec![policy(of_server(), &[gone()])],
            none(),
        ),
        (
            "one that is not there, and one that is",
            deny(),
            vec![policy(of_server(), &[mesh()]), policy(of_server(), &[network(), gone()])],
            by_policy(),
        ),
        ("for the namespace", deny(), vec![policy(Namespace, &[mesh()])], by_policy()),
        (
            "for another Server",
            deny(),
            vec![policy(AuthorizationTarget::Server("other".into()), &[mesh()])],
            none(),
        ),
        (
            "for a route, by an identity",
            deny(),
            vec![policy(of_server(), &[mesh()]), policy(Other, &[mesh()])],
            by_policy(),
        ),
        (
            "for a route, by an address",
            deny(),
            vec![policy(of_server(), &[mesh()]), policy(Other, &[network()])],
            none(),
        ),
    ] {
        assert_eq!(of(server, policies), expected, "{case}");
    }
}

#[test]
fn which_server_is_for_a_port() {
    let of_server = || AuthorizationTarget::Server("s".to_owned());
    let deny = || server("payments", 8443, Access::Nobody);
    let mesh = || Authentication::MeshTls(name("clients"));
    let by = |what: &str| format!("tls, certificate yes, verified yes, by {what}");
    let none = || "nothing".to_owned();
    let by_policy = || by("AuthorizationPolicy shop/a");
    for (case, server, policies, expected) in [
        (
            "whoever has an identity",
            server("payments", 8443, Access::Identity),
            vec![],
            by("Server shop/s"),
        ),
        (
            "whoever",
            server("payments", 8443, Access::Anyone),
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
        (
            "something that is not known",
            server("payments", 8443, Access::Unknown),
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
        (
            "another port",
            server("payments", 8080, Access::Nobody),
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
        (
            "other pods",
            server("ledger", 8443, Access::Nobody),
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
        (
            "a port by its name",
            Server { port: Some(ServerPort::Name("tls".into())), ..deny() },
            vec![policy(of_server(), &[mesh()])],
            by_policy(),
        ),
        (
            "workloads elsewhere",
            Server { pods: None, ..deny() },
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
        (
            "a selector that is not known",
            Server {
                pods: Some(Selector {
                    expressions: vec![("app".into(), Requirement::Other)],
                    ..Selector::default()
                }),
                ..deny()
            },
            vec![policy(of_server(), &[mesh()])],
            none(),
        ),
    ] {
        assert_eq!(of(server, policies), expected, "{case}");
    }
}

#[test]
fn ports_that_the_proxy_does_not_take() {
    let mut table = LinkerdTable::default();
    table.servers.set(name("s"), Some(server("payments", 8443, Access::Identity)));
    let by_server = "tls, certificate yes, verified yes, by Server shop/s";
    for (case, skipped, expected) in [
        ("none", vec![], by_server),
        ("others", vec![25..=25, 9000..=9999], by_server),
        ("this one", vec![8443..=8443], "nothing"),
        ("one of many", vec![25..=25, 8000..=8999], "nothing"),
    ] {
        let endpoint = PodRecord { skipped_ports: skipped, ..payments() };
        assert_eq!(said(&table, PROXY, &endpoint), expected, "{case}");
    }
}

#[test]
fn authorizations_of_old() {
    let identity = "tls, certificate yes, verified yes, by ServerAuthorization shop/a";
    let by_name = |of: &str| Ok(of.to_owned());
    let selected = |app: &str| Err(selector(app));
    for (case, server, access, expected) in [
        ("by name", by_name("s"), Access::Identity, identity),
        ("by labels", selected("s"), Access::Identity, identity),
        ("of another", by_name("other"), Access::Anyone, "nothing"),
        ("of others", selected("other"), Access::Identity, "nothing"),
        ("whoever", by_name("s"), Access::Anyone, "nothing"),
    ] {
        let mut table = LinkerdTable::default();
        table.servers.set(name("s"), Some(super::tests::server("payments", 8443, Access::Nobody)));
        table.authorizations.set(name("a"), Some(ServerAuthorization { server, access }));
        assert_eq!(said(&table, PROXY, &payments()), expected, "{case}");
    }
    let mut table = LinkerdTable::default();
    for of in ["s", "t"] {
        table.servers.set(name(of), Some(server("payments", 8443, Access::Identity)));
    }
    assert_eq!(said(&table, PROXY, &payments()), "nothing", "two Servers for one port");
}

#[test]
fn what_a_proxy_hands_on_within_its_pod_is_no_hop_of_the_mesh() {
    let mut table = LinkerdTable::default();
    let everybody =
        Server { pods: Some(Selector::default()), ..server("payments", 8443, Access::Identity) };
    table.servers.set(name("s"), Some(everybody.clone()));
    table.servers.set(("web".into(), "s".into()), Some(everybody));
    assert_ne!(said(&table, PROXY, &payments()), "nothing");
    assert_eq!(said(&table, PROXY, &pod("web", &[PROXY], &[])), "nothing");
}
