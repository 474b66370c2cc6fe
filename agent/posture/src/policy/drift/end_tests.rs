//! When a drift is over, and how it ended.

use std::time::Duration;

use hopsight_core::{
    model::{ClientAuth, Security},
    report::Verdict,
};

use super::{
    assess_tests::{
        MUTUAL, MUTUAL_CONFIGURED, ONE_WAY, ONE_WAY_CONFIGURED, PLAIN_CONFIGURED, PLAINTEXT,
        configured, verdict,
    },
    tracker_tests::{NONE, Scene, at, quick, with, words},
    *,
};
use crate::{
    hops::testing,
    policy::{intent::UpstreamIntent, observation::Observation, rules::PolicySet},
};

/// One configuration with these locations for the upstream.
pub(super) fn locations(all: &[&str]) -> UpstreamIntent {
    let mut all = all.iter().map(|location| configured(location));
    let mut first = all.next().expect("one");
    first.routes.extend(all.flat_map(|other| other.routes));
    first
}

#[test]
fn old_workers_that_go_on_for_a_while_do_not_make_it_flap() {
    let mut scene = Scene::new(Options::default());
    let (old, new) = (locations(&[PLAIN_CONFIGURED]), locations(&[MUTUAL_CONFIGURED]));
    let seen = |scene: &mut Scene, verdict, second, load| {
        scene.intent = Some(if load == 0 { old.clone() } else { new.clone() });
        scene.observe(&with(verdict, second, load), second)
    };
    seen(&mut scene, PLAINTEXT, 0, 0);
    for second in 10..14 {
        assert_eq!(seen(&mut scene, MUTUAL, second, 9), NONE);
        assert_eq!(seen(&mut scene, PLAINTEXT, second, 0), NONE);
        assert_eq!(scene.tick(second), NONE);
    }
    assert_eq!(seen(&mut scene, MUTUAL, 14, 9), NONE);
    assert_eq!(seen(&mut scene, MUTUAL, 15, 9), NONE);
    assert_eq!(scene.tick(18), NONE);
    // It ended with the first good connection after the last bad one, not when we were sure.
    assert_eq!(scene.tick(19), ["-payments plaintext Remediated Some(13.75s)"]);
}

const HOUR: u64 = 3600;

/// A connection, when it was opened, and with what locations of the configuration of which second.
type Connection = (Verdict, u64, Option<(u64, &'static [&'static str])>);

/// A drift closes when the hop is good, and not a moment sooner or later.
fn closes_with_the_hop(cases: Vec<(&str, Vec<Connection>, u64, bool)>) {
    for (name, connections, quiet_until, is_closed) in cases {
        let mut scene = Scene::new(Options::default());
        for (verdict, seconds, configuration) in connections {
            let configured_at = configuration.map(|(loaded, _)| at(loaded));
            scene.intent = configuration.map(|(_, says)| locations(says));
            let seen = Observation {
                loaded_at: configured_at,
                configured_at,
                ..with(verdict, seconds, 0)
            };
            scene.observe(&seen, seconds);
        }
        assert_eq!(scene.tracker.open().count(), 1, "{name}: open");
        let closed = scene.tick(quiet_until);
        assert_eq!(!closed.is_empty(), is_closed, "{name}: {closed:?}");
        let hop = scene.hops.get(&"edge".into(), &"payments".into()).expect("the hop");
        assert_eq!(hop.state.security == Security::Mtls, is_closed, "{name}: the hop");
    }
}

#[test]
fn what_the_proxy_does_ends_when_its_configuration_rules_it_out() {
    const IN_VAIN: Verdict = verdict(Security::Tls, ClientAuth::RequestedNotPresented);
    const VERIFIED: &str = "proxy_pass https://10.0.0.1; proxy_ssl_certificate c; \
                            proxy_ssl_certificate_key k; proxy_ssl_verify on; \
                            proxy_ssl_trusted_certificate ca;";
    let both = &[PLAIN_CONFIGURED, MUTUAL_CONFIGURED][..];
    let mutual = &[MUTUAL_CONFIGURED][..];
    let (mixed, verified) =
        (&[ONE_WAY_CONFIGURED, MUTUAL_CONFIGURED][..], &[ONE_WAY_CONFIGURED, VERIFIED][..]);
    closes_with_the_hop(vec![
        (
            "another route of the same configuration is good",
            vec![(PLAINTEXT, 0, Some((0, both))), (MUTUAL, 10, Some((0, both)))],
            2 * HOUR,
            false,
        ),
        (
            "the route was not taken for very long",
            vec![(PLAINTEXT, 0, Some((0, both))), (MUTUAL, 10, Some((0, both)))],
            2 * HOUR + 1,
            true,
        ),
        (
            "a configuration without it is loaded",
            vec![(PLAINTEXT, 0, Some((0, both))), (MUTUAL, 10, Some((9, mutual)))],
            16,
            true,
        ),
        (
            "it is taken once an hour under the new configuration, too",
            vec![
                (PLAINTEXT, 0, Some((0, both))),
                (PLAINTEXT, 10, Some((9, both))),
                (MUTUAL, 20, Some((9, both))),
            ],
            HOUR,
            false,
        ),
        (
            "another part of the configuration is another",
            vec![(IN_VAIN, 0, Some((0, mixed))), (MUTUAL, 10, Some((9, verified)))],
            HOUR,
            false,
        ),
        (
            "no configuration is known, and it stopped",
            vec![(PLAINTEXT, 0, None), (MUTUAL, 10, None)],
            HOUR,
            false,
        ),
        (
            "no configuration is known, and it stopped long ago",
            vec![(PLAINTEXT, 0, None), (MUTUAL, 10, None)],
            2 * HOUR + 1,
            true,
        ),
    ]);
}

/// Once a certificate is configured on every route, that nobody asks for it is another rule's.
#[test]
fn a_certificate_that_is_configured_is_not_missing() {
    let mixed = &[ONE_WAY_CONFIGURED, MUTUAL_CONFIGURED][..];
    for (name, says, want) in [
        ("on every route", &[MUTUAL_CONFIGURED][..], &[Rule::NeverRequested][..]),
        ("on one", mixed, &[Rule::ClientCertificateMissing, Rule::NeverRequested]),
        ("still none", &[ONE_WAY_CONFIGURED], &[Rule::ClientCertificateMissing]),
    ] {
        let mut scene = Scene::new(Options::default());
        scene.intent = Some(locations(&[ONE_WAY_CONFIGURED]));
        for second in 0..5 {
            scene.observe(&with(ONE_WAY, second, 0), second);
        }
        scene.intent = Some(locations(says));
        for second in 10..20 {
            scene.observe(&with(ONE_WAY, second, 9), second);
            scene.tick(second);
        }
        let open: Vec<_> = scene.tracker.open().map(|drift| drift.rule).collect();
        assert_eq!(open, want, "{name}");
    }
}

#[test]
fn what_the_upstream_does_ends_when_its_answers_have_turned() {
    let every_second = |verdict, from: u64, to: u64| -> Vec<Connection> {
        let configured = Some((0, &[MUTUAL_CONFIGURED][..]));
        (from..to).map(|second| (verdict, second, configured)).collect()
    };
    closes_with_the_hop(vec![
        (
            "the upstream's doing, mended there",
            [every_second(ONE_WAY, 0, 4), every_second(MUTUAL, 10, 15)].concat(),
            15,
            true,
        ),
        (
            "mended there for the second time",
            [
                every_second(MUTUAL, 0, 4),
                every_second(ONE_WAY, 4, 8),
                every_second(MUTUAL, 8, 16),
                every_second(ONE_WAY, 16, 20),
                every_second(MUTUAL, 20, 26),
            ]
            .concat(),
            26,
            true,
        ),
        (
            "the upstream does not ask on one connection of many",
            [every_second(ONE_WAY, 0, 1), every_second(MUTUAL, 10, 50)].concat(),
            HOUR,
            false,
        ),
        (
            "the upstream asks on some connections only",
            [
                every_second(ONE_WAY, 0, 4),
                every_second(MUTUAL, 4, 5),
                every_second(ONE_WAY, 5, 6),
                every_second(MUTUAL, 6, 20),
            ]
            .concat(),
            HOUR,
            false,
        ),
    ]);
}

/// One of two names of a server has a certificate that ends soon: what the other has says nothing
/// about it.
#[test]
fn a_certificate_is_gone_when_it_is_renewed_and_not_when_another_is_seen() {
    let facts = |name: &str, not_before: u64, not_after: u64| {
        let seconds = |days: u64| i64::try_from(at(days * 86_400).as_secs()).unwrap();
        let mut facts = testing::certificate(name, seconds(not_after));
        facts.not_before = seconds(not_before);
        facts
    };
    let (ending, renewed, other) = (facts("a", 0, 1), facts("a", 1, 90), facts("b", 0, 90));
    for (name, then, quiet_until, is_closed) in [
        ("the other name", &other, 3600, false),
        ("not seen for long", &other, 7201, true),
        ("renewed", &renewed, 301, true),
        ("renewed, a while ago", &renewed, 60, false),
    ] {
        let mut scene = Scene::new(Options::default());
        let policy = "[[policies]]\nrequire = \"tls\"\nexpiry_margin = \"7d\"";
        scene.policies = PolicySet::parse(policy).unwrap();
        let seen = |certificate, seconds| Observation {
            server_certificate: Some(certificate),
            ..with(ONE_WAY, seconds, 0)
        };
        assert_eq!(scene.observe(&seen(&ending, 0), 0), ["+payments certificate_expiring 250ms"]);
        scene.observe(&seen(then, 10), 10);
        let closed = scene.tick(quiet_until);
        assert_eq!(!closed.is_empty(), is_closed, "{name}: {closed:?}");
    }
}

#[test]
fn a_server_that_is_out_of_use_is_forgotten() {
    let mut scene = Scene::new(Options::default());
    let to = |server: &str, verdict, seconds| Observation {
        address: server.parse().expect("an address"),
        ..with(verdict, seconds, 0)
    };
    scene.observe(&to("10.0.0.1:443", PLAINTEXT, 0), 0);
    scene.observe(&to("10.0.0.2:443", MUTUAL, 10), 10);
    assert_eq!(scene.tick(7200), NONE);
    assert_eq!(scene.tick(7201), ["-payments plaintext Forgotten None"]);
}

#[test]
fn a_server_that_was_taken_off_the_list_is_given_up() {
    let mut scene = Scene::new(Options::default());
    let address = |server: &str| server.parse().expect("an address");
    for server in ["10.0.0.1:443", "10.0.0.2:443"] {
        scene.observe(&Observation { address: address(server), ..with(PLAINTEXT, 0, 0) }, 0);
    }
    let gone = "[::ffff:10.0.0.1]:443";
    let closed = words(scene.tracker.give_up_server("edge", "payments", address(gone), at(5)));
    assert_eq!(closed, ["-payments plaintext Forgotten None"]);
    let open: Vec<_> = scene.tracker.open().map(|drift| drift.server.to_string()).collect();
    assert_eq!(open, ["10.0.0.2:443"]);
}

#[test]
fn good_connections_to_one_server_do_not_end_the_drift_of_another() {
    let mut scene = Scene::new(Options::default());
    let to = |server: &str, verdict, seconds| Observation {
        address: server.parse().expect("an address"),
        ..with(verdict, seconds, 0)
    };
    scene.observe(&to("10.0.0.1:443", ONE_WAY, 0), 0);
    scene.observe(&to("10.0.0.2:443", MUTUAL, 10), 10);
    assert_eq!(scene.tick(60), NONE);
    scene.observe(&to("10.0.0.2:443", ONE_WAY, 70), 70);
    let open: Vec<_> = scene.tracker.open().map(|drift| drift.server.to_string()).collect();
    assert_eq!(open.len(), 2, "{open:?}");
    scene.observe(&to("10.0.0.1:443", MUTUAL, 80), 80);
    assert_eq!(scene.tick(7270), ["-payments never_requested Remediated Some(79.75s)"]);
    assert_eq!(scene.tracker.open().count(), 1);
}

#[test]
fn late_reports_of_old_connections_do_not_reopen_the_wound() {
    let mut scene = Scene::new(quick());
    scene.seen("payments", PLAINTEXT, 0);
    scene.seen("payments", MUTUAL, 10);
    assert_eq!(scene.seen("payments", PLAINTEXT, 9), NONE);
    assert_eq!(scene.tick(15), ["-payments plaintext Remediated Some(9.75s)"]);
}

#[test]
fn hops_that_are_not_used_any_more_are_given_up() {
    let options = Options { forget_after: Duration::from_hours(1), ..Options::default() };
    let mut scene = Scene::new(options);
    scene.seen("payments", PLAINTEXT, 0);
    assert_eq!(scene.tick(3599), NONE);
    assert_eq!(scene.tick(3600), ["-payments plaintext Forgotten None"]);
    let json = serde_json::to_value(scene.tracker.snapshot()).unwrap();
    assert_eq!(json["hops"].as_array().unwrap().len(), 0);
}

#[test]
fn a_hop_that_got_another_name_is_given_up() {
    let mut scene = Scene::new(Options::default());
    for upstream in ["payments", "reports"] {
        assert_eq!(scene.seen(upstream, PLAINTEXT, 0).len(), 1);
    }
    let closed = words(scene.tracker.give_up("edge", "payments", at(5)));
    assert_eq!(closed, ["-payments plaintext Forgotten None"]);
    let open: Vec<_> = scene.tracker.open().map(|drift| drift.upstream.to_string()).collect();
    assert_eq!(open, ["reports"]);
    assert!(scene.tracker.give_up("edge", "payments", at(6)).is_empty());
}
