//! Drifts that end, or begin, because policy is another.

use std::time::Duration;

use hopsight_core::{model::ServerVerified, report::Verdict, tls::hello::TlsVersion};

use super::{
    assess_tests::{
        MUTUAL, MUTUAL_CONFIGURED, ONE_WAY, ONE_WAY_CONFIGURED, PLAIN_CONFIGURED, PLAINTEXT,
        configured,
    },
    end_tests::locations,
    tracker_tests::{NONE, Scene, at, quick, with, words},
    *,
};
use crate::policy::{observation::Observation, rules::PolicySet};

/// Workers with the configuration of before, which asked for more, show no other policy.
#[test]
fn old_workers_do_not_change_the_policy() {
    let mut scene = Scene::new(Options::default());
    let (old, new) = (locations(&[MUTUAL_CONFIGURED]), locations(&[ONE_WAY_CONFIGURED]));
    for second in 10..20 {
        let (load, says) = if second % 2 == 0 { (9, &new) } else { (0, &old) };
        scene.intent = Some(says.clone());
        scene.observe(&with(ONE_WAY, second, load), second);
        scene.tick(second);
    }
    let open: Vec<_> = scene.tracker.open().map(|drift| (drift.rule, drift.since)).collect();
    assert_eq!(open, [(Rule::ClientCertificateMissing, at(10)), (Rule::NeverRequested, at(11))]);
}

/// Nobody needs to use a hop for its exemption to end.
#[test]
fn an_exemption_that_ends_opens_the_drift() {
    for (name, is_mended, opens) in [("in use", false, true), ("mended meanwhile", true, false)] {
        let mut scene = Scene::new(Options::default());
        scene.intent = Some(locations(&[PLAIN_CONFIGURED]));
        let seen = with(PLAINTEXT, 0, 0);
        let exempt = |scene: &mut Scene, seen: &Observation<'_>, now| {
            let assessment = assess(scene.policies.find(&seen.subject()), &[], seen, now);
            let assessment = assessment.with_exempt(|rule| rule == Rule::Plaintext);
            words(scene.tracker.observe(seen, &assessment, now))
        };
        scene.observe(&seen, 0);
        assert_eq!(exempt(&mut scene, &seen, at(1)), NONE, "{name}");
        assert_eq!(scene.tick(2), ["-payments plaintext PolicyChanged None"], "{name}");
        if is_mended {
            scene.intent = Some(locations(&[MUTUAL_CONFIGURED]));
            scene.observe(&with(MUTUAL, 10, 9), 10);
            scene.tick(16);
        }
        assert_eq!(words(scene.tracker.end_exemptions(at(20), |_| true)), NONE, "{name}");
        let opened = words(scene.tracker.end_exemptions(at(20), |_| false));
        assert_eq!(!opened.is_empty(), opens, "{name}: {opened:?}");
        assert_eq!(words(scene.tracker.end_exemptions(at(21), |_| false)), NONE, "{name}");
        assert_eq!(scene.tracker.open().count(), usize::from(opens), "{name}");
    }
}

#[test]
fn another_policy_remediates_nothing() {
    let mut scene = Scene::new(Options::default());
    scene.observe(&with(PLAINTEXT, 0, 0), 0);
    scene.policies = PolicySet::parse("[[policies]]\nrequire = \"plaintext-allowed\"").unwrap();
    assert_eq!(scene.observe(&with(PLAINTEXT, 10, 0), 10), NONE);
    assert_eq!(scene.tick(11), ["-payments plaintext PolicyChanged None"]);
}

/// What no treatment shows is known by what policy asks for.
#[test]
fn a_policy_that_asks_for_less_remediates_nothing() {
    let policy = |minimum: &str| {
        let text = format!("[[policies]]\nrequire = \"mtls\"\nmin_version = \"{minimum}\"");
        PolicySet::parse(&text).unwrap()
    };
    for (name, offends_again, end) in [
        ("only good ones come", false, "-payments version_below_minimum PolicyChanged None"),
        (
            "it is too old for that as well",
            true,
            "-payments version_below_minimum Remediated Some(29.75s)",
        ),
    ] {
        let mut scene = Scene::new(quick());
        let old = |seconds| Observation {
            tls_version: Some(TlsVersion(0x0301)),
            ..with(MUTUAL, seconds, 0)
        };
        let before = policy("1.3");
        scene.policies = before.clone();
        scene.observe(&old(0), 0);
        scene.policies = policy("1.2");
        let (before, after) = (&before.policies()[0], &scene.policies.policies()[0]);
        scene.tracker.relax(|drift| asks_for_less(drift.rule, before, after));
        if offends_again {
            scene.observe(&old(10), 10);
        }
        let seen = Observation { tls_version: Some(TlsVersion::TLS12), ..with(MUTUAL, 30, 0) };
        assert_eq!(scene.observe(&seen, 30), NONE, "{name}");
        assert_eq!(scene.tick(60), [end], "{name}");
    }
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
