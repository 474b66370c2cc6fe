use super::*;
use crate::{policy::intent::Stated, workload::standing::Conditions};

fn name(name: &str) -> ObjectName {
    ("shop".into(), name.into())
}

fn policy(service: &str, port: Option<&str>, hostname: &str) -> BackendTlsPolicy {
    let target = PolicyTarget { service: service.into(), port: port.map(Arc::from) };
    BackendTlsPolicy {
        targets: vec![target],
        hostname: hostname.into(),
        trusted: Some("ConfigMap shop/ca".into()),
        ..BackendTlsPolicy::default()
    }
}

#[test]
fn the_policy_for_the_port_comes_first() {
    let mut table = GatewayTable::default();
    table.policies.set(name("b"), Some(policy("payments", None, "whole.test")));
    table.policies.set(name("a"), Some(policy("payments", Some("https"), "port.test")));
    table.policies.set(name("c"), Some(policy("payments", None, "later.test")));
    table.policies.set(("other".into(), "a".into()), Some(policy("ledger", None, "x.test")));
    let secret = Some("Secret shop/edge-client".to_owned());
    table.gateways.set(name("edge"), Some(Gateway { client_certificate: secret, standing: None }));
    for (gateway, service, port_name, expected) in [
        ("edge", "payments", Some("https"), Some(("port.test", Stated::Yes))),
        ("edge", "payments", Some("admin"), Some(("whole.test", Stated::Yes))),
        ("edge", "payments", None, Some(("whole.test", Stated::Yes))),
        ("unknown", "payments", None, Some(("whole.test", Stated::No))),
        ("edge", "ledger", None, None),
    ] {
        let to = ServicePort {
            namespace: "shop".into(),
            service: service.into(),
            port: 443,
            port_name: port_name.map(Arc::from),
        };
        let intent = table.intent(&name(gateway), &to);
        let found = intent.as_ref().map(|intent| {
            assert_eq!((intent.scheme(), intent.verify()), (Scheme::Tls, Stated::Yes));
            let hostname = intent.routes[0].expected_name().unwrap().literal().unwrap();
            (hostname, intent.client_certificate())
        });
        assert_eq!(found, expected, "{gateway} to {service} {port_name:?}");
    }
    let to = ServicePort {
        namespace: "shop".into(),
        service: "payments".into(),
        port: 443,
        port_name: None,
    };
    let at = table.intent(&name("edge"), &to).unwrap().routes[0].at.to_string();
    assert_eq!(at, "BackendTLSPolicy shop/b");
}

fn standing(gateway: &str, conditions: &[(&'static str, bool)]) -> Standing {
    Standing { gateway: name(gateway), conditions: Conditions(conditions.to_vec()) }
}

const GOOD: &[(&str, bool)] = &[("Accepted", true), ("ResolvedRefs", true)];

#[test]
fn what_a_status_says_is_a_promise() {
    let to = ServicePort {
        namespace: "shop".into(),
        service: "payments".into(),
        port: 443,
        port_name: None,
    };
    let with = |standings: Vec<Standing>| {
        Some(BackendTlsPolicy { standings, ..policy("payments", None, "p.test") })
    };
    let route = |service: &str, port, standings| {
        Some(BackendRoute { backends: vec![(name(service), port)], standings })
    };
    let unresolved = &[("Accepted", true), ("ResolvedRefs", false)];
    let refused = &[("Accepted", false)];
    let by_route = "GRPCRoute shop/r: Accepted is True, ResolvedRefs is True for Gateway shop/edge, \
                    BackendTLSPolicy shop/p is for its backend: tls";
    let by_policy = [
        "BackendTLSPolicy shop/p: Accepted is True, ResolvedRefs is True for Gateway shop/edge: tls",
        "BackendTLSPolicy shop/p: Accepted is True, ResolvedRefs is True for Gateway shop/edge: \
         verification",
    ];
    for (case, policy, route, expected) in [
        ("in force", with(vec![standing("edge", GOOD)]), None, &by_policy[..]),
        ("for another Gateway", with(vec![standing("other", GOOD)]), None, &[]),
        (
            "what it needs is missing, and that is said",
            with(vec![standing("edge", unresolved)]),
            route("payments", None, vec![standing("edge", GOOD)]),
            &[],
        ),
        ("no status", with(Vec::new()), None, &[]),
        (
            "no status, and a route in force",
            with(Vec::new()),
            route("payments", Some(443), vec![standing("edge", GOOD)]),
            &[by_route],
        ),
        (
            "a route to another port",
            with(Vec::new()),
            route("payments", Some(80), vec![standing("edge", GOOD)]),
            &[],
        ),
        (
            "a route to another Service",
            with(Vec::new()),
            route("ledger", None, vec![standing("edge", GOOD)]),
            &[],
        ),
        (
            "a route that is not in force",
            with(Vec::new()),
            route("payments", None, vec![standing("edge", unresolved)]),
            &[],
        ),
        (
            "a route without a policy",
            None,
            route("payments", None, vec![standing("edge", GOOD)]),
            &[],
        ),
        (
            "a policy that is refused",
            with(vec![standing("edge", refused)]),
            route("payments", None, vec![standing("edge", GOOD)]),
            &[],
        ),
    ] {
        let mut table = GatewayTable::default();
        table.policies.set(name("p"), policy);
        table.routes.entry("GRPCRoute").or_default().set(name("r"), route);
        let claims = table.claims(&name("edge"), &to);
        let words: Vec<_> = claims
            .iter()
            .map(|one| format!("{}: {}: {}", one.object, one.condition, one.promise))
            .collect();
        assert_eq!(words, expected, "{case}");
    }
}

#[test]
fn a_gateway_promises_its_client_certificate_where_there_is_tls() {
    let to = |service: &str| ServicePort {
        namespace: "shop".into(),
        service: service.into(),
        port: 443,
        port_name: None,
    };
    let mut table = GatewayTable::default();
    table.policies.set(name("p"), Some(policy("payments", None, "p.test")));
    for (conditions, expected) in [
        (&[("Programmed", true), ("ResolvedRefs", true)][..], 1),
        (&[("Programmed", true), ("ResolvedRefs", false)], 0),
        (&[], 0),
    ] {
        let client_certificate = Some("Secret shop/edge-client".to_owned());
        let standing = Some(standing("edge", conditions));
        table.gateways.set(name("edge"), Some(Gateway { client_certificate, standing }));
        let claims = table.claims(&name("edge"), &to("payments"));
        assert_eq!(claims.len(), expected, "{conditions:?}");
        assert!(claims.iter().all(|one| one.promise == Promise::ClientCertificate));
        assert!(table.claims(&name("edge"), &to("ledger")).is_empty(), "no policy is for it");
    }
}

#[test]
fn names_of_the_policy_take_the_place_of_its_hostname() {
    let to = ServicePort {
        namespace: "shop".into(),
        service: "payments".into(),
        port: 443,
        port_name: None,
    };
    let hostname = |name: &str| SubjectName::Hostname(name.to_owned());
    let uri = || SubjectName::Uri("spiffe://shop/payments".to_owned());
    for (names, expected, others) in [
        (vec![], Some("p.test"), 0),
        (vec![hostname("a.test"), uri()], Some("a.test"), 1),
        (vec![uri()], None, 0),
    ] {
        let mut table = GatewayTable::default();
        let with = BackendTlsPolicy { names, ..policy("payments", None, "p.test") };
        table.policies.set(name("p"), Some(with));
        let route = table.intent(&name("edge"), &to).unwrap().routes.remove(0);
        assert_eq!(route.expected_name().and_then(Text::literal), expected);
        assert_eq!(route.tls.other_names.len(), others);
        assert_eq!(route.sent_name().and_then(Text::literal), Some("p.test"));
    }
}
