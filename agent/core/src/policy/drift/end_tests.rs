//! When a drift is over, and how it ended.

use std::time::Duration;

use super::{
    assess_tests::{MUTUAL, ONE_WAY, PLAINTEXT, configured},
    tracker_tests::{NONE, Scene, at, quick, with, words},
    *,
};
use crate::{
    model::ServerVerified,
    policy::{observation::Observation, rules::PolicySet},
    report::Verdict,
};

#[test]
fn old_workers_that_go_on_for_a_while_do_not_make_it_flap() {
    let mut scene = Scene::new(Options::default());
    scene.observe(&with(PLAINTEXT, 0, 0), 0);
    for second in 10..14 {
        assert_eq!(scene.observe(&with(MUTUAL, second, 9), second), NONE);
        assert_eq!(scene.observe(&with(PLAINTEXT, second, 0), second), NONE);
        assert_eq!(scene.tick(second), NONE);
    }
    assert_eq!(scene.observe(&with(MUTUAL, 14, 9), 14), NONE);
    assert_eq!(scene.observe(&with(MUTUAL, 15, 9), 15), NONE);
    assert_eq!(scene.tick(17), NONE);
    // It ended with the first good connection after the last bad one, not when we were sure.
    assert_eq!(scene.tick(18), ["-payments plaintext Remediated Some(13.75s)"]);
}

#[test]
fn a_drift_ends_when_its_cause_is_gone_and_not_before() {
    const HOUR: u64 = 3600;
    for (name, connections, quiet_until, is_closed) in [
        (
            "another route of the same configuration is good",
            vec![(PLAINTEXT, 0, Some(0)), (MUTUAL, 10, Some(0))],
            HOUR,
            false,
        ),
        (
            "the route was not taken for very long",
            vec![(PLAINTEXT, 0, Some(0)), (MUTUAL, 10, Some(0))],
            2 * HOUR,
            true,
        ),
        (
            "a configuration without it is loaded",
            vec![(PLAINTEXT, 0, Some(0)), (MUTUAL, 10, Some(9))],
            15,
            true,
        ),
        (
            "it is taken once an hour under the new configuration, too",
            vec![(PLAINTEXT, 0, Some(0)), (PLAINTEXT, 10, Some(9)), (MUTUAL, 20, Some(9))],
            HOUR,
            false,
        ),
        (
            "no configuration is known, and it stopped",
            vec![(PLAINTEXT, 0, None), (MUTUAL, 10, None)],
            400,
            true,
        ),
        (
            "no configuration is known, and they alternate",
            vec![
                (PLAINTEXT, 0, None),
                (MUTUAL, 10, None),
                (PLAINTEXT, 20, None),
                (MUTUAL, 30, None),
            ],
            HOUR,
            false,
        ),
        (
            "good, then bad, then mended: that is no alternation",
            vec![(MUTUAL, 0, None), (PLAINTEXT, 10, None), (MUTUAL, 20, None)],
            400,
            true,
        ),
        (
            "the upstream's doing, mended there",
            vec![(ONE_WAY, 0, Some(0)), (MUTUAL, 10, Some(0))],
            15,
            true,
        ),
        (
            "the upstream asks on some connections only",
            vec![
                (ONE_WAY, 0, Some(0)),
                (MUTUAL, 10, Some(0)),
                (ONE_WAY, 20, Some(0)),
                (MUTUAL, 30, Some(0)),
            ],
            HOUR,
            false,
        ),
    ] {
        let mut scene = Scene::new(Options::default());
        for (verdict, seconds, configured) in connections {
            let configured_at = configured.map(at);
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
    }
}

#[test]
fn good_connections_to_one_server_do_not_end_the_drift_of_another() {
    let mut scene = Scene::new(quick());
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
    assert_eq!(scene.tick(90), ["-payments never_requested Remediated Some(79.75s)"]);
    assert_eq!(scene.tracker.open().count(), 1);
}

#[test]
fn another_policy_remediates_nothing() {
    let mut scene = Scene::new(Options::default());
    scene.observe(&with(PLAINTEXT, 0, 0), 0);
    scene.policies = PolicySet::parse("[[policies]]\nrequire = \"plaintext-allowed\"").unwrap();
    assert_eq!(scene.observe(&with(PLAINTEXT, 10, 0), 10), NONE);
    assert_eq!(scene.tick(11), ["-payments plaintext PolicyChanged None"]);
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

#[test]
fn the_same_treatment_under_another_configuration_is_no_other_policy() {
    let unseen = Verdict { server_verified: ServerVerified::Unknown, ..ONE_WAY };
    let upstream = |verify: &[&str]| {
        let mut all = verify.iter().map(|verify| {
            configured(&format!(
                "proxy_pass https://10.0.0.1; proxy_ssl_trusted_certificate ca; \
                 proxy_ssl_verify {verify};"
            ))
        });
        let mut first = all.next().expect("one");
        first.routes.extend(all.flat_map(|other| other.routes));
        first
    };
    let mut scene = Scene::new(Options::default());
    scene.policies =
        PolicySet::parse("[[policies]]\nrequire = \"tls\"\nverify_upstream = \"always\"").unwrap();
    for (intent, seconds, expected) in [
        (upstream(&["on", "off"]), 0, vec!["+payments upstream_not_verified 250ms"]),
        (upstream(&["on", "on"]), 10, vec![]),
    ] {
        let seen = with(unseen, seconds, seconds);
        let now = at(seconds) + Duration::from_millis(250);
        let assessment = assess(scene.policies.find(&seen.subject()), &[&intent], &seen, now);
        assert_eq!(words(scene.tracker.observe(&seen, &assessment, now)), expected);
    }
    assert_eq!(scene.tick(20), ["-payments upstream_not_verified Remediated Some(9.75s)"]);
}
