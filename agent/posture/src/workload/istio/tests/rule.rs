//! Which rule is for a hop.

use super::*;

#[test]
fn which_host_is_meant() {
    use TlsMode::{Disable, IstioMutual};
    let mutual = |host: &str| rule(host, IstioMutual);
    let disable = |host: &str| rule(host, Disable);
    let by = |how: &str, object: &str| format!("{how}DestinationRule {object}");
    let none = || "nothing".to_owned();
    for (case, rules, expected) in [
        ("none", vec![], none()),
        ("its full name", vec![("web", "a", mutual(FQDN))], by(MUTUAL, "web/a")),
        (
            "a full name of another domain",
            vec![("web", "a", mutual("payments.shop.svc.example.org"))],
            by(MUTUAL, "web/a"),
        ),
        (
            "that of a set of clusters",
            vec![("web", "a", mutual("payments.shop.svc.clusterset.local"))],
            none(),
        ),
        ("a short name, beside it", vec![("shop", "a", mutual("payments"))], by(MUTUAL, "shop/a")),
        ("a short name, elsewhere", vec![("web", "a", mutual("payments"))], none()),
        ("a short name, of the mesh", vec![("istio-system", "a", mutual("payments"))], none()),
        ("a name that is cut", vec![("web", "a", mutual("payments.shop"))], none()),
        ("another host", vec![("shop", "a", mutual("ledger"))], none()),
        ("every host", vec![("web", "a", mutual("*"))], by(MUTUAL, "web/a")),
        ("a wildcard", vec![("web", "a", mutual("*.shop.svc.cluster.local"))], by(MUTUAL, "web/a")),
        ("another wildcard", vec![("web", "a", mutual("*.bank.svc.cluster.local"))], none()),
        (
            "the longest end comes first",
            vec![("web", "a", disable("*.local")), ("web", "b", mutual("*.svc.cluster.local"))],
            by(MUTUAL, "web/b"),
        ),
        (
            "an exact host before a wildcard",
            vec![("web", "a", disable("*.shop.svc.cluster.local")), ("web", "b", mutual(FQDN))],
            by(MUTUAL, "web/b"),
        ),
    ] {
        assert_eq!(words(Scene::new().rules(rules).said()), expected, "{case}");
    }
}

#[test]
fn which_rule_is_for_a_hop() {
    use TlsMode::{Disable, IstioMutual};
    let mutual = |host: &str| rule(host, IstioMutual);
    let disable = |host: &str| rule(host, Disable);
    let exported = |to: &[&str], rule: DestinationRule| DestinationRule {
        export_to: to.iter().map(|one| (*one).to_owned()).collect(),
        ..rule
    };
    let at = |created_at, rule: DestinationRule| DestinationRule { created_at, ..rule };
    let by = |how: &str, object: &str| format!("{how}DestinationRule {object}");
    let none = || "nothing".to_owned();
    for (case, rules, expected) in [
        (
            "the proxy's namespace before the Service's, even by a wildcard",
            vec![("web", "a", mutual("*")), ("shop", "a", disable(FQDN))],
            by(MUTUAL, "web/a"),
        ),
        (
            "the Service's before the mesh's",
            vec![("istio-system", "a", disable("*.local")), ("shop", "a", mutual("payments"))],
            by(MUTUAL, "shop/a"),
        ),
        (
            "the mesh's",
            vec![("istio-system", "a", mutual("*.local"))],
            by(MUTUAL, "istio-system/a"),
        ),
        ("another namespace's", vec![("bank", "a", mutual(FQDN))], none()),
        ("not exported", vec![("shop", "a", exported(&["."], mutual("payments")))], none()),
        (
            "exported by name",
            vec![("shop", "a", exported(&["bank", "web"], mutual("payments")))],
            by(MUTUAL, "shop/a"),
        ),
        (
            "exported to others, so that the mesh's counts",
            vec![
                ("shop", "a", exported(&["bank"], disable("payments"))),
                ("istio-system", "b", exported(&["*"], mutual("*.local"))),
            ],
            by(MUTUAL, "istio-system/b"),
        ),
        (
            "not exported, though a wildcard beside it is",
            vec![
                ("shop", "a", exported(&["bank"], disable("payments"))),
                ("shop", "b", mutual("*.shop.svc.cluster.local")),
            ],
            none(),
        ),
        (
            "the proxy's own, exported to others alone",
            vec![("web", "a", exported(&["bank"], mutual(FQDN)))],
            none(),
        ),
        (
            "the oldest of a host",
            vec![("web", "a", at(2, disable(FQDN))), ("web", "b", at(1, mutual(FQDN)))],
            by(MUTUAL, "web/b"),
        ),
        (
            "the first of equal age",
            vec![("web", "a", mutual(FQDN)), ("web", "b", disable(FQDN))],
            by(MUTUAL, "web/a"),
        ),
        (
            "the oldest that says something",
            vec![
                ("web", "a", at(1, DestinationRule { policy: None, ..mutual(FQDN) })),
                ("web", "b", at(2, mutual(FQDN))),
            ],
            by(MUTUAL, "web/b"),
        ),
        ("no TLS", vec![("web", "a", disable(FQDN))], by(PLAINTEXT, "web/a")),
        (
            "a mode that is not known",
            vec![("web", "a", rule(FQDN, TlsMode::Unknown))],
            by("unknown, certificate unknown, verified unknown, by ", "web/a"),
        ),
    ] {
        assert_eq!(words(Scene::new().rules(rules).said()), expected, "{case}");
    }
}

#[test]
fn rules_for_some_proxies() {
    use TlsMode::{Disable, IstioMutual};
    let some = |app: &str, mode| DestinationRule {
        workloads: Some(labels(&[("app", app)])),
        ..rule(FQDN, mode)
    };
    let mutual = format!("{MUTUAL}DestinationRule web/");
    for (case, rules, expected) in [
        ("for it", vec![("web", "a", some("edge", IstioMutual))], format!("{mutual}a")),
        ("for others", vec![("web", "a", some("other", IstioMutual))], "nothing".to_owned()),
        (
            "for it before one for all",
            vec![("web", "a", rule(FQDN, Disable)), ("web", "b", some("edge", IstioMutual))],
            format!("{mutual}b"),
        ),
        (
            "for others beside one for all",
            vec![("web", "a", some("other", Disable)), ("web", "b", rule(FQDN, IstioMutual))],
            format!("{mutual}b"),
        ),
        ("of another namespace", vec![("shop", "a", some("edge", Disable))], "nothing".to_owned()),
        (
            "of another namespace, beside one for all",
            vec![
                ("shop", "a", some("edge", Disable)),
                ("shop", "b", rule("*.shop.svc.cluster.local", IstioMutual)),
            ],
            format!("{MUTUAL}DestinationRule shop/b"),
        ),
        (
            "for it, without a word on TLS, beside one for all",
            vec![
                ("web", "a", DestinationRule { policy: None, ..some("edge", Disable) }),
                ("web", "b", rule(FQDN, IstioMutual)),
            ],
            "unknown, certificate unknown, verified unknown, by DestinationRule web/b".to_owned(),
        ),
        (
            "for others with a word on TLS, beside one for all without",
            vec![
                ("web", "a", some("other", Disable)),
                ("web", "b", DestinationRule { policy: None, ..rule(FQDN, Disable) }),
            ],
            "unknown, certificate unknown, verified unknown, by DestinationRule web/a".to_owned(),
        ),
        (
            "two for it, of which the older counts",
            vec![
                ("web", "a", DestinationRule { created_at: 2, ..some("edge", Disable) }),
                (
                    "web",
                    "b",
                    DestinationRule {
                        created_at: 1,
                        workloads: Some(labels(&[])),
                        ..rule(FQDN, IstioMutual)
                    },
                ),
            ],
            format!("{mutual}b"),
        ),
    ] {
        assert_eq!(words(Scene::new().rules(rules).said()), expected, "{case}");
    }
    for (case, container, of_pod) in [
        ("the program that the sidecar is for", Some("app"), &[][..]),
        ("no container that is known", None, &[]),
        ("a waypoint", Some(PROXY), &[WAYPOINT]),
    ] {
        let mut scene = Scene::new().rules(vec![("web", "a", rule(FQDN, IstioMutual))]);
        scene.from.container = container.map(Into::into);
        scene.pod = Some(pod("web", &["app", "istio-proxy"], of_pod));
        assert_eq!(words(scene.said()), "nothing", "{case}");
    }
    let own = |table: Scene| Scene { endpoint: table.pod.clone(), ..table };
    let scene = own(Scene::new().rules(vec![("web", "a", rule(FQDN, IstioMutual))]));
    assert_eq!(words(scene.said()), "nothing", "what it hands on within its pod");
}
