//! What a workload accepts.

use super::*;

#[test]
fn what_a_workload_accepts() {
    use PeerMode::{Disable, Permissive, Strict, Unknown, Unset};
    let for_app =
        |app: &str, mode| PeerAuthentication { selector: labels(&[("app", app)]), ..peer(mode) };
    let with_port =
        |port, of, one: PeerAuthentication| PeerAuthentication { ports: vec![(port, of)], ..one };
    let at = |created_at, one: PeerAuthentication| PeerAuthentication { created_at, ..one };
    let strict = |object: &str| format!("{MUTUAL}PeerAuthentication {object}");
    let none = || "nothing".to_owned();
    for (case, peers, expected) in [
        ("nothing", vec![], none()),
        ("the mesh's", vec![("istio-system", "m", peer(Strict))], strict("istio-system/m")),
        ("the namespace's", vec![("shop", "n", peer(Strict))], strict("shop/n")),
        ("another namespace's", vec![("web", "n", peer(Strict))], none()),
        (
            "the namespace's before the mesh's",
            vec![("istio-system", "m", peer(Permissive)), ("shop", "n", peer(Strict))],
            strict("shop/n"),
        ),
        (
            "permissive before strict",
            vec![("istio-system", "m", peer(Strict)), ("shop", "n", peer(Permissive))],
            none(),
        ),
        (
            "unset inherits",
            vec![("istio-system", "m", peer(Strict)), ("shop", "n", peer(Unset))],
            strict("istio-system/m"),
        ),
        (
            "the workload's before the namespace's",
            vec![("shop", "n", peer(Disable)), ("shop", "w", for_app("payments", Strict))],
            strict("shop/w"),
        ),
        (
            "another workload's",
            vec![("shop", "n", peer(Strict)), ("shop", "w", for_app("ledger", Disable))],
            strict("shop/n"),
        ),
        (
            "one in the root namespace",
            vec![("istio-system", "w", for_app("payments", Strict))],
            none(),
        ),
        (
            "no TLS",
            vec![("shop", "w", for_app("payments", Disable))],
            format!("{PLAINTEXT}PeerAuthentication shop/w"),
        ),
        (
            "the port of the workload",
            vec![("shop", "w", with_port(8443, Strict, for_app("payments", Permissive)))],
            strict("shop/w"),
        ),
        (
            "the port of the Service is not the workload's",
            vec![("shop", "w", with_port(443, Strict, for_app("payments", Permissive)))],
            none(),
        ),
        (
            "a port that is let out",
            vec![("shop", "w", with_port(8443, Permissive, for_app("payments", Strict)))],
            none(),
        ),
        (
            "a port that is unset inherits",
            vec![("shop", "w", with_port(8443, Unset, for_app("payments", Strict)))],
            strict("shop/w"),
        ),
        (
            "a port of all workloads counts for nothing",
            vec![("shop", "n", with_port(8443, Permissive, peer(Strict)))],
            strict("shop/n"),
        ),
        (
            "the oldest",
            vec![("shop", "a", at(2, peer(Permissive))), ("shop", "b", at(1, peer(Strict)))],
            strict("shop/b"),
        ),
        (
            "a mode that is not known",
            vec![("istio-system", "m", peer(Strict)), ("shop", "n", peer(Unknown))],
            none(),
        ),
    ] {
        assert_eq!(words(Scene::new().peers(peers).said()), expected, "{case}");
    }
    let strict = || Scene::new().peers(vec![("shop", "n", peer(Strict))]);
    let mut scene = strict();
    scene.endpoint = Some(pod("shop", &["app"], &[("app", "payments")]));
    assert_eq!(words(scene.said()), "nothing", "a workload without a proxy");
    scene.endpoint = None;
    assert_eq!(words(scene.said()), "nothing", "a workload that is not known");
    let scene = strict().rules(vec![("web", "a", rule(FQDN, TlsMode::Disable))]);
    let expected = format!("{PLAINTEXT}DestinationRule web/a");
    assert_eq!(words(scene.said()), expected, "a rule comes first");
    let without =
        DestinationRule { policy: Some(TrafficPolicy::default()), ..rule(FQDN, TlsMode::Disable) };
    let scene = strict().rules(vec![("web", "a", without)]);
    let expected = format!("{MUTUAL}PeerAuthentication shop/n");
    assert_eq!(words(scene.said()), expected, "a rule without TLS leaves it to the mesh");
}
