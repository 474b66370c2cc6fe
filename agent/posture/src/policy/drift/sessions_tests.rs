use std::time::Duration;

use hopsight_core::{
    model::{Evidence, Timestamp},
    report::{CarriedBy, CarriedFrom},
    tls::certificate_facts::CertificateFacts,
};

use super::{
    assess_tests::{MUTUAL, NOW, ONE_WAY, RESUMED, certificate, observation},
    *,
};
use crate::policy::{
    certificate::Revoked,
    observation::{Observation, ProcessStart},
    on_disk::OnDisk,
    rules::PolicySet,
};

const HOUR: f64 = 3_600.0;

fn from(age_seconds: f64, client_certificate: Option<CertificateFacts>) -> CarriedFrom {
    CarriedFrom {
        evidence: Evidence::Library,
        age_seconds,
        by: CarriedBy::Session,
        at: Timestamp(0),
        pid: Some(7),
        server_certificate: client_certificate.as_ref().map(|_| upstream(9).into()),
        client_certificate: client_certificate.map(Into::into),
    }
}

fn upstream(days_left: i64) -> CertificateFacts {
    CertificateFacts { subject: "CN=payments".to_owned(), ..named("0a", days_left) }
}

fn named(serial: &str, days_left: i64) -> CertificateFacts {
    CertificateFacts {
        serial: serial.to_owned(),
        ..certificate("CN=Mesh CA", "DNS:edge", days_left)
    }
}

/// The answer for a rule: met, unknown, or what is wrong.
fn said(policies: &PolicySet, seen: &Observation<'_>, rule: Rule) -> String {
    match assess(policies.find(&seen.subject()), &[], seen, NOW).answer(rule) {
        Answer::Met => "met".to_owned(),
        Answer::Unknown => "unknown".to_owned(),
        Answer::Exempt(_) => "exempt".to_owned(),
        Answer::Violated(violation) => violation.detail.clone(),
    }
}

#[test]
fn a_session_may_be_as_old_as_policy_says() {
    let policies = "[[policies]]\nrequire = \"mtls\"\nmax_authentication_age = \"12h\"";
    let policies = PolicySet::parse(policies).unwrap();
    let (young, old) = (from(11.0 * HOUR, None), from(13.0 * HOUR, None));
    let resumed = |from| Observation { carried_from: Some(from), ..observation(MUTUAL) };
    let any_age = PolicySet::built_in();
    let too_old = "the session rests on a handshake 13 hours old, 12 hours are allowed";
    for (name, policies, seen, expected) in [
        ("a handshake", &policies, observation(MUTUAL), "met"),
        ("a young session", &policies, resumed(&young), "met"),
        ("an old session", &policies, resumed(&old), too_old),
        ("nobody asks", &any_age, resumed(&old), "met"),
        ("of unknown age", &policies, observation(RESUMED), "unknown"),
    ] {
        assert_eq!(said(policies, &seen, Rule::AuthenticationTooOld), expected, "{name}");
    }
}

#[test]
fn a_session_must_not_outlive_the_certificate_it_rests_on() {
    let with = |certificate| from(2.0 * HOUR, Some(certificate));
    let (valid, ended, hidden) = (with(named("01", 9)), with(named("01", -3)), from(HOUR, None));
    let other_ended =
        CarriedFrom { server_certificate: Some(upstream(-3).into()), ..valid.clone() };
    let one_way = CarriedFrom { server_certificate: Some(upstream(9).into()), ..hidden.clone() };
    let (same, renewed) = (named("01", 9), named("02", 90));
    let resumed = |from| Observation { carried_from: Some(from), ..observation(MUTUAL) };
    let loaded = |from, now, hours: u64| Observation {
        configured_certificate: Some(now),
        loaded_at: Some(NOW - Duration::from_hours(hours)),
        ..resumed(from)
    };
    let configured = |from, now| loaded(from, now, 1);
    let goes_on = "the session goes on, 2 hours after its handshake, with the client certificate \
                   \"CN=edge\" that";
    let (has_ended, was_replaced) =
        (format!("{goes_on} ended 3 days ago"), format!("{goes_on} was replaced by another"));
    let upstream_ended = "the session goes on, 2 hours after its handshake, with the upstream \
                          certificate \"CN=payments\" that ended 3 days ago"
        .to_owned();
    let policies = PolicySet::built_in();
    for (name, seen, expected) in [
        ("a handshake", observation(MUTUAL), "met"),
        ("a handshake with what has ended", observation(MUTUAL), "met"),
        ("a session", resumed(&valid), "met"),
        ("its certificate has ended", resumed(&ended), has_ended.as_str()),
        ("the same is configured", configured(&valid, &same), "met"),
        ("another was loaded", configured(&valid, &renewed), was_replaced.as_str()),
        ("another was loaded before", loaded(&valid, &renewed, 3), "met"),
        ("it was not seen", configured(&hidden, &renewed), "unknown"),
        ("that of the upstream has ended", resumed(&other_ended), upstream_ended.as_str()),
        (
            "a session without a client certificate",
            Observation { carried_from: Some(&one_way), ..observation(ONE_WAY) },
            "met",
        ),
        ("from before the agent's time", observation(RESUMED), "unknown"),
    ] {
        let found = said(&policies, &seen, Rule::SessionOutlivesCertificate);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_session_must_not_outlive_what_the_files_say() {
    let on = |certificate: CertificateFacts, hours: u64| OnDisk {
        certificate: Some((certificate.into(), NOW - Duration::from_hours(hours))),
        ..OnDisk::default()
    };
    let revoking = |serial: &str| OnDisk {
        revoked: Some(Revoked::of("CN=Mesh CA", serial, 0).into()),
        ..OnDisk::default()
    };
    let carried = from(2.0 * HOUR, Some(named("01", 9)));
    let hidden = from(2.0 * HOUR, None);
    let goes_on = |whose: &str, end: &str| {
        format!("the session goes on, 2 hours after its handshake, with the {whose} that {end}")
    };
    let client = |end| goes_on("client certificate \"CN=edge\"", end);
    let policies = PolicySet::built_in();
    let replaced = client("was replaced on disk by another");
    let upstream_revoked = goes_on("upstream certificate \"CN=payments\"", "is revoked");
    let cases = [
        ("the same lies there", &carried, on(named("01", 9), 1), "met"),
        ("another was put there since", &carried, on(named("02", 9), 1), replaced.as_str()),
        ("another was there before", &carried, on(named("02", 9), 3), "met"),
        ("nothing can be read", &carried, OnDisk::default(), "met"),
        ("it was not seen", &hidden, on(named("02", 9), 1), "unknown"),
        ("it is revoked", &carried, revoking("01"), &client("is revoked")),
        ("that of the upstream is revoked", &carried, revoking("0a"), &upstream_revoked),
        ("another is revoked", &carried, revoking("03"), "met"),
        ("a list, and nothing was seen", &hidden, revoking("01"), "unknown"),
    ];
    for (name, carried, on_disk, expected) in cases {
        let seen = Observation {
            carried_from: Some(carried),
            on_disk: Some(&on_disk),
            ..observation(MUTUAL)
        };
        assert_eq!(said(&policies, &seen, Rule::SessionOutlivesCertificate), expected, "{name}");
    }
}

#[test]
fn a_session_drift_is_over_when_everybody_who_had_one_has_another() {
    /// How a connection begins.
    #[derive(Clone, Copy, PartialEq)]
    enum By {
        Handshake,
        OldSession,
        NewSession,
    }
    use By::{Handshake, NewSession, OldSession};
    let policies = PolicySet::built_in();
    let (old, new) = (from(2.0 * HOUR, Some(named("01", -3))), from(1.0, Some(named("02", 9))));
    let worker = |pid| Some(ProcessStart { pid, start_ticks: 1 });
    let at = |seconds| NOW + Duration::from_secs(seconds);
    for (name, connections, ended, is_over) in [
        ("a handshake alone", &[(0, 1, OldSession), (10, 1, Handshake)][..], &[][..], false),
        (
            "its session is resumed",
            &[(0, 1, OldSession), (10, 1, Handshake), (11, 1, NewSession)],
            &[],
            true,
        ),
        (
            "of two, only one has another",
            &[(0, 1, OldSession), (1, 2, OldSession), (10, 2, NewSession)],
            &[],
            false,
        ),
        ("a third has never had one", &[(0, 1, OldSession), (10, 3, NewSession)], &[], false),
        (
            "the other one has ended",
            &[(0, 1, OldSession), (1, 2, OldSession), (10, 2, NewSession)],
            &[1],
            true,
        ),
        ("all have ended", &[(0, 1, OldSession), (10, 3, Handshake)], &[1], true),
        (
            "both have another",
            &[(0, 1, OldSession), (1, 2, OldSession), (10, 2, NewSession), (11, 1, NewSession)],
            &[],
            true,
        ),
        (
            "it has several",
            &[
                (0, 1, OldSession),
                (10, 1, NewSession),
                (11, 1, OldSession),
                (12, 1, NewSession),
                (13, 1, NewSession),
            ],
            &[],
            false,
        ),
        (
            "it had the old one again",
            &[(0, 1, OldSession), (10, 1, NewSession), (11, 1, OldSession), (12, 2, Handshake)],
            &[],
            false,
        ),
    ] {
        let mut tracker = DriftTracker::new(Options::default(), Snapshot::default(), at(0));
        for &(seconds, pid, by) in connections {
            let carried_from = match by {
                Handshake => None,
                OldSession => Some(&old),
                NewSession => Some(&new),
            };
            let seen = Observation {
                carried_from,
                resumed: Some(by != Handshake),
                opened_by: worker(pid),
                at: at(seconds),
                ..observation(MUTUAL)
            };
            let assessment = assess(policies.find(&seen.subject()), &[], &seen, at(seconds));
            tracker.observe(&seen, &assessment, at(seconds));
        }
        assert_eq!(tracker.open().count(), 1, "{name}");
        let in_use = |_: &OpenDrift, causes: &Causes| {
            let mut running = causes.processes.iter().filter(|one| !ended.contains(&one.pid));
            if running.next().is_some() { Use::InUse } else { Use::Unknown }
        };
        tracker.tick(at(30), in_use);
        assert_eq!(tracker.open().count() == 0, is_over, "{name}");
    }
}
