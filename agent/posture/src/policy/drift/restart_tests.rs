//! A restart of the agent in the middle of a drift: it resolves nothing.

use std::time::Duration;

use super::{
    assess_tests::{MUTUAL, ONE_WAY, PLAINTEXT},
    tracker_tests::{NONE, Scene, at, with},
    *,
};
use crate::policy::{
    observation::Observation,
    rules::PolicySet,
    time::{Step, UnixTime},
};

const HOUR: u64 = 3600;

/// The scene after a restart, of which the agent sees connections since `seconds`. By then the wall
/// clock was set.
fn restarted(scene: Scene, seconds: u64, step: Option<Step>) -> Scene {
    let json = serde_json::to_string(&scene.tracker.snapshot()).unwrap();
    let mut snapshot: Snapshot = serde_json::from_str(&json).unwrap();
    if let Some(step) = step {
        snapshot.clock_was_set(step);
    }
    let tracker = DriftTracker::new(Options::default(), snapshot, at(seconds));
    let hops = scene.restarted_hops(seconds);
    Scene { tracker, hops, ..scene }
}

#[test]
fn time_in_which_nobody_watched_ends_nothing() {
    for (name, verdict, configured) in [
        ("the proxy's doing", PLAINTEXT, Some(0)),
        ("nothing is configured", PLAINTEXT, None),
        ("the upstream's doing", ONE_WAY, Some(0)),
    ] {
        let mut scene = Scene::new(Options::default());
        let seen = |verdict, seconds| Observation {
            configured_at: configured.map(at),
            loaded_at: configured.map(at),
            ..with(verdict, seconds, 0)
        };
        scene.observe(&seen(verdict, 0), 0);
        scene.observe(&seen(MUTUAL, 3), 3);
        let mut scene = restarted(scene, 24 * HOUR, None);
        assert_eq!(scene.tick(24 * HOUR), NONE, "{name}");
        assert_eq!(scene.tracker.open().count(), 1, "{name}");
        // From here on the silence is one.
        let closed = scene.tick(27 * HOUR);
        assert_eq!(closed.len(), 1, "{name}: {closed:?}");
    }
    let mut scene = Scene::new(Options::default());
    scene.observe(&with(PLAINTEXT, 0, 0), 0);
    let mut scene = restarted(scene, 30 * 24 * HOUR, None);
    assert_eq!(scene.tick(30 * 24 * HOUR), NONE, "nor is it forgotten");
}

#[test]
fn a_load_that_is_read_anew_is_no_other_load() {
    let day = Duration::from_hours(24);
    let later = |at: UnixTime, by: Duration| at + by;
    for (name, step, read_anew, is_another) in [
        ("the same", None, Duration::ZERO, false),
        ("read a little differently", None, Duration::from_millis(20), false),
        ("another", None, Duration::from_secs(3), true),
        ("the clock was set, the same", Some(Step::Forward(day)), day, false),
        (
            "the clock was set, another",
            Some(Step::Forward(day)),
            day + Duration::from_secs(3),
            true,
        ),
    ] {
        let mut scene = Scene::new(Options::default());
        scene.observe(&with(PLAINTEXT, 10, 0), 10);
        let shift = if step.is_some() { day.as_secs() } else { 0 };
        let mut scene = restarted(scene, shift + 20, step);
        // The same connection is good by now: for the policy, or for its configuration.
        scene.policies = PolicySet::parse("[[policies]]\nrequire = \"plaintext-allowed\"").unwrap();
        let good = Observation {
            loaded_at: Some(later(at(0), read_anew)),
            configured_at: Some(later(at(0), read_anew)),
            ..with(PLAINTEXT, shift + 30, 0)
        };
        assert_eq!(scene.observe(&good, shift + 30), NONE, "{name}");
        let closed = scene.tick(shift + 40);
        let end = if is_another { End::Remediated } else { End::PolicyChanged };
        assert!(closed.len() == 1 && closed[0].contains(&format!("{end:?}")), "{name}: {closed:?}");
    }
}
