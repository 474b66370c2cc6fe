use std::time::Duration;

use hopsight_core::tls::certificate_facts::CertificateFacts;

use super::assess_tests::{MUTUAL, NOW, ONE_WAY, certificate, observation, words};
use crate::policy::{identities::Newer, observation::Observation, on_disk::OnDisk};

fn begun(not_before: i64) -> CertificateFacts {
    CertificateFacts { not_before, ..certificate("CN=Mesh CA", "DNS:edge", 90) }
}

#[test]
fn stale_certificates_are_told() {
    const STALE: &str = "violation stale_certificate";
    let (old, new) = (begun(100), begun(200));
    let file = |facts: &CertificateFacts, seconds_ago, is_of_all_routes| OnDisk {
        certificate: Some((facts.clone().into(), NOW - Duration::from_secs(seconds_ago))),
        is_of_all_routes,
        revoked: None,
    };
    for (name, presented, on_disk, resumed, expected) in [
        ("the one in the file", &new, file(&new, 60, true), false, "compliant"),
        ("a newer one in the file", &old, file(&new, 60, true), false, STALE),
        ("put there a moment ago", &old, file(&new, 2, true), false, "compliant"),
        ("an older one in the file", &new, file(&old, 60, true), false, "compliant"),
        ("of another route", &old, file(&new, 60, false), false, "compliant"),
        ("in a session from before", &old, file(&new, 60, true), true, "compliant"),
    ] {
        let seen = Observation {
            client_certificate: Some(presented),
            on_disk: Some(&on_disk),
            resumed: Some(resumed),
            ..observation(MUTUAL)
        };
        assert_eq!(words("", None, &seen), expected, "{name}");
    }
    let newer = Newer { server: "10.0.0.9:443".parse().unwrap(), since: NOW };
    let seen = Observation {
        server_certificate: Some(&old),
        newer_elsewhere: Some(newer),
        ..observation(ONE_WAY)
    };
    assert_eq!(words("", None, &seen), STALE, "a newer one elsewhere");
}
