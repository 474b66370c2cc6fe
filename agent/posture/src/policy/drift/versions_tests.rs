use super::{
    assess_tests::{ONE_WAY, configured},
    tracker_tests::{Scene, at, with},
    *,
};
use crate::policy::{observation::Observation, rules::PolicySet};
use hopsight_core::tls::hello::TlsVersion;

/// A version, when the connection was opened, and with what versions of the configuration loaded when.
type Connection = (TlsVersion, u64, u64, &'static str);

#[test]
fn an_old_version_is_over_when_another_configuration_allows_only_newer_ones() {
    const OLD: TlsVersion = TlsVersion::TLS12;
    const NEW: TlsVersion = TlsVersion::TLS13;
    const BOTH: &str = "TLSv1.2 TLSv1.3";
    let cases: [(&str, [Connection; 2], bool, bool); 6] = [
        ("one that allows newer ones", [(OLD, 1, 0, BOTH), (NEW, 10, 9, "TLSv1.3")], false, true),
        ("one that allows both", [(OLD, 1, 0, BOTH), (NEW, 10, 9, BOTH)], false, false),
        ("the same one, where both happen", [(OLD, 1, 0, BOTH), (NEW, 10, 0, BOTH)], false, false),
        ("one that was loaded before", [(OLD, 5, 4, BOTH), (NEW, 10, 0, "TLSv1.3")], false, false),
        (
            "one that never allowed it",
            [(OLD, 1, 0, "TLSv1.3"), (NEW, 10, 9, "TLSv1.3")],
            false,
            false,
        ),
        ("one beside others", [(OLD, 1, 0, BOTH), (NEW, 10, 9, "TLSv1.3")], true, false),
    ];
    for (name, connections, is_shared, is_closed) in cases {
        let mut scene = Scene::new(Options::default());
        let policy = "[[policies]]\nrequire = \"tls\"\nmin_version = \"1.3\"";
        scene.policies = PolicySet::parse(policy).unwrap();
        for (version, second, loaded, protocols) in connections {
            let says = format!("proxy_pass https://10.0.0.1; proxy_ssl_protocols {protocols};");
            scene.intent = Some(configured(&says));
            let seen = Observation {
                tls_version: Some(version),
                loaded_at: Some(at(loaded)),
                // Of what else it says nothing has changed.
                configured_at: Some(at(0)),
                is_shared,
                ..with(ONE_WAY, second, 0)
            };
            scene.observe(&seen, second);
        }
        assert_eq!(scene.tracker.open().count(), 1, "{name}");
        assert_eq!(!scene.tick(16).is_empty(), is_closed, "{name}");
    }
}
