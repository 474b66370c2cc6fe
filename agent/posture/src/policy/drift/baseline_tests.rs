//! A client certificate that is removed in the configuration.

use hopsight_core::{
    model::{ClientAuth, Outcome, Security},
    report::Verdict,
};

use super::{
    assess_tests::{
        MUTUAL, MUTUAL_CONFIGURED, NOW, ONE_WAY, ONE_WAY_CONFIGURED, PLAIN_CONFIGURED, PLAINTEXT,
        configured, observation, verdict,
    },
    tracker_tests::{NONE, Scene},
    *,
};
use crate::policy::{intent::UpstreamIntent, observation::Observation, rules::PolicySet};

fn upstream(locations: &[&str]) -> Option<UpstreamIntent> {
    let mut all = locations.iter().map(|location| configured(location));
    let mut first = all.next()?;
    first.routes.extend(all.flat_map(|other| other.routes));
    Some(first)
}

#[test]
fn a_removed_client_certificate_is_a_violation_where_nothing_else_asks_for_one() {
    let in_vain = verdict(Security::Tls, ClientAuth::RequestedNotPresented);
    let unseen = Verdict { client_auth: ClientAuth::Unknown, ..ONE_WAY };
    let failed = Verdict { outcome: Outcome::Failed, ..ONE_WAY };
    let (mutual, one_way, plain) = (MUTUAL_CONFIGURED, ONE_WAY_CONFIGURED, PLAIN_CONFIGURED);
    for (name, policies, had_one, locations, seen, is_removed) in [
        ("removed, not asked for", "", true, vec![one_way], ONE_WAY, true),
        ("removed, asked in vain", "", true, vec![one_way], in_vain, true),
        ("removed with TLS", "", true, vec![plain], PLAINTEXT, true),
        ("removed from one route of two", "", true, vec![mutual, one_way], in_vain, true),
        ("the other route", "", true, vec![mutual, one_way], MUTUAL, false),
        ("an old worker goes on", "", true, vec![one_way], MUTUAL, false),
        ("not seen", "", true, vec![one_way], unseen, false),
        ("a handshake that failed", "", true, vec![one_way], failed, false),
        ("still configured, not asked for", "", true, vec![mutual], ONE_WAY, false),
        ("never had one", "", false, vec![one_way], ONE_WAY, false),
        ("no configuration is known", "", true, vec![], ONE_WAY, false),
        (
            "the operator says so",
            "[[policies]]\nrequire = \"tls\"",
            true,
            vec![one_way],
            ONE_WAY,
            false,
        ),
    ] {
        let policies = PolicySet::parse(policies).unwrap();
        let intent = upstream(&locations);
        let intents: Vec<_> = intent.iter().collect();
        let seen = Observation { had_client_certificate: had_one, ..observation(seen) };
        let assessment = assess(policies.find(&seen.subject()), &intents, &seen, NOW);
        let mut violations = assessment.violations();
        let found = violations.find(|(rule, _)| *rule == Rule::ClientCertificateRemoved);
        assert_eq!(found.is_some(), is_removed, "{name}");
        if let Some((_, violation)) = found {
            assert!(violation.place.is_some(), "{name}: {violation:?}");
        }
    }
}

#[test]
fn it_ends_as_remediated_or_by_a_policy() {
    let restored = upstream(&[MUTUAL_CONFIGURED]);
    let removed = upstream(&[ONE_WAY_CONFIGURED]);
    let in_vain = verdict(Security::Tls, ClientAuth::RequestedNotPresented);
    for (name, policy, verdict, intent, end) in [
        ("put back", "", MUTUAL, &restored, "-payments client_certificate_removed Remediated"),
        (
            "allowed",
            "[[policies]]\nrequire = \"tls\"",
            in_vain,
            &removed,
            "-payments client_certificate_removed PolicyChanged",
        ),
    ] {
        let mut scene = Scene::new(Options::default());
        scene.policies = PolicySet::parse("").unwrap();
        let seen = |scene: &mut Scene, verdict, intent: &Option<UpstreamIntent>, seconds| {
            let at = NOW + std::time::Duration::from_secs(seconds);
            let seen = Observation {
                upstream: "payments",
                had_client_certificate: true,
                at,
                loaded_at: Some(at),
                // It is the same configuration unless the certificate is put back.
                configured_at: Some(if verdict == MUTUAL { at } else { NOW }),
                ..observation(verdict)
            };
            scene.intent.clone_from(intent);
            scene.observe(&seen, seconds)
        };
        let opened = seen(&mut scene, in_vain, &removed, 0);
        assert_eq!(opened, ["+payments client_certificate_removed 250ms"], "{name}");
        scene.policies = PolicySet::parse(policy).unwrap();
        assert_eq!(seen(&mut scene, verdict, intent, 10), NONE, "{name}");
        let closed = scene.tick(20);
        assert_eq!(closed.len(), 1, "{name}: {closed:?}");
        assert!(closed[0].starts_with(end), "{name}: {closed:?}");
    }
}
