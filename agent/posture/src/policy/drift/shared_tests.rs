//! A configuration rules nothing out while others have a say in the hop.

use hopsight_core::model::Security;

use super::{
    assess_tests::{MUTUAL, MUTUAL_CONFIGURED, PLAIN_CONFIGURED, PLAINTEXT, configured},
    tracker_tests::{NONE, Scene, at, with},
    *,
};
use crate::policy::observation::Observation;

const HOUR: u64 = 3600;

/// A connection: when it was opened, with which load, and whether others have a say in the hop.
type Connection = (u64, u64, bool);

#[test]
fn what_others_may_still_do_is_not_over() {
    let (alone, shared) = (false, true);
    for (name, good, until, is_over) in [
        ("mended and loaded", vec![(10, 9, alone)], 20, true),
        ("others may do what they did", vec![(10, 9, shared)], 20, false),
        ("for long", vec![(10, 9, shared), (HOUR, 9, shared)], 2 * HOUR - 1, false),
        (
            "they did not for as long as that counts",
            vec![(10, 9, shared), (2 * HOUR, 9, shared)],
            2 * HOUR + 10,
            true,
        ),
        ("they have ended since", vec![(10, 9, shared), (20, 9, alone)], 21, true),
        ("they have come since", vec![(3, 9, alone), (4, 9, shared)], 21, false),
        ("the same configuration", vec![(10, 0, alone)], 20, false),
    ] {
        let good: Vec<Connection> = good;
        let mut scene = Scene::new(Options::default());
        let seen = |verdict, (opened, load, is_shared): Connection| Observation {
            loaded_at: Some(at(load)),
            configured_at: Some(at(load)),
            is_shared,
            ..with(verdict, opened, 0)
        };
        scene.intent = Some(configured(PLAIN_CONFIGURED));
        scene.observe(&seen(PLAINTEXT, (0, 0, alone)), 0);
        for connection in good {
            scene.intent = Some(configured(MUTUAL_CONFIGURED));
            assert_eq!(scene.observe(&seen(MUTUAL, connection), connection.0), NONE, "{name}");
        }
        let closed = scene.tick(until);
        assert_eq!(!closed.is_empty(), is_over, "{name}: {closed:?}");
        let hop = scene.hops.get(&"edge".into(), &"payments".into()).expect("the hop");
        assert_eq!(hop.state.security == Security::Mtls, is_over, "{name}: the hop");
        assert!(closed.iter().all(|closed| closed.contains("Remediated")), "{name}: {closed:?}");
    }
}
