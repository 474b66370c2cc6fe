//! Certificates that are renewed, and those that are only replaced on disk.

use std::{
    fs, slice,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use hopsight_posture::hops::hop::Hop;
use hopsight_tests::{agent::VERDICT, http, pki::Identity, requirement, wait::wait_until};
use serde_json::Value;

use super::{Scene, TOLD, compliant, open, told_after, wanted};

/// How long a proxy may take to load a new certificate.
const RELOAD: Duration = Duration::from_secs(2);
/// Requests at a time while a certificate is renewed, and how many come after it.
const AT_ONCE: usize = 4;
const AFTER: u64 = 200;

/// Puts one in the place of the other on disk.
fn replace(old: &Identity, new: &Identity) {
    for (old, new) in [(&old.chain, &new.chain), (&old.key, &new.key)] {
        let beside = old.with_extension("beside");
        fs::copy(new, &beside).unwrap();
        fs::rename(&beside, old).unwrap();
    }
}

/// The serial number that a certificate in use came in the place of, and whether the upstream's.
fn renewed(hop: &Hop, is_upstream: bool) -> Vec<String> {
    let [server, client] = hop.servers[0].certificates.in_use();
    let side = if is_upstream { server } else { client };
    side.iter().filter_map(|seen| Some(seen.renews.as_ref()?.serial.clone())).collect()
}

#[test]
fn a_certificate_that_was_only_replaced_on_disk_is_told() {
    if !requirement::met("a_certificate_that_was_only_replaced_on_disk_is_told", &["nginx"]) {
        return;
    }
    let scene = Scene::start(|chains| {
        let mut hop = wanted(chains).swap_remove(0);
        hop.client = Some(&chains.renewal[1][0]);
        vec![hop]
    });
    let names = ["healthy-0".to_owned()];
    scene.wait(&names, "the hop to be compliant", compliant);
    let [old, new] = &scene.chains.renewal[1];
    replace(old, new);
    scene.wait(&names, "the old one to be told", |hop| open(hop) == ["stale_certificate"]);
    assert!(told_after(&scene, "stale_certificate") < TOLD);
    scene.proxy.reload().unwrap();
    let found = scene.wait(&names, "the new one to be in use", |hop| {
        compliant(hop) && !renewed(hop, false).is_empty()
    });
    assert_eq!(renewed(&found[0], false), slice::from_ref(&old.serial));
}

/// Asks for `/healthy-0` again and again, `AT_ONCE` at a time, while `work` runs: what `work` makes
/// of a count of answers, and what went wrong.
fn under_load<T>(scene: &Scene, work: impl FnOnce(&AtomicU64) -> T) -> (T, Vec<String>) {
    let (answers, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let send = || {
        let mut failures = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            match http::get(scene.front, "/healthy-0") {
                Ok(answer) if answer.status == 200 => drop(answers.fetch_add(1, Ordering::Relaxed)),
                Ok(answer) => failures.push(format!("{answer:?}")),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        failures
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        // Else a panic of `work` would wait for them.
        let over = Over(&is_over);
        let made = work(&answers);
        drop(over);
        (made, threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect())
    })
}

/// Ends the load when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_renewal_under_load_is_told_and_violates_nothing() {
    if !requirement::met("a_renewal_under_load_is_told_and_violates_nothing", &["nginx"]) {
        return;
    }
    let scene = Scene::start(|chains| {
        let mut hop = wanted(chains).swap_remove(0);
        (hop.presents, hop.client) = (&chains.renewal[0][0], Some(&chains.renewal[1][0]));
        vec![hop]
    });
    let names = ["healthy-0".to_owned()];
    scene.wait(&names, "the hop to be compliant", compliant);
    let ((found, requests), failures) = under_load(&scene, |answers| {
        for [old, new] in &scene.chains.renewal {
            replace(old, new);
        }
        let replaced_at = Instant::now();
        scene.upstream.reload().unwrap();
        scene.proxy.reload().unwrap();
        let found = scene.wait(&names, "both to be renewed", |hop| {
            compliant(hop) && [true, false].iter().all(|side| !renewed(hop, *side).is_empty())
        });
        // What is on disk counts from then on: who goes on with the old ones is told.
        let so_far = answers.load(Ordering::Relaxed);
        wait_until("handshakes after the renewal", VERDICT, || {
            let more = answers.load(Ordering::Relaxed) - so_far;
            Ok((more > AFTER && replaced_at.elapsed() > 2 * RELOAD).then_some(()))
        })
        .unwrap();
        (found, answers.load(Ordering::Relaxed))
    });
    assert_eq!(failures, Vec::<String>::new());
    let events = scene.agent.events_named("certificate_renewed");
    let details = events.iter().filter_map(|event| event["detail"].as_str());
    println!("{requests} requests: {}", details.collect::<Vec<_>>().join("; "));
    assert_eq!(events.len(), 2, "{events:#?}");
    for (side, [old, new]) in ["server", "client"].into_iter().zip(&scene.chains.renewal) {
        let event = events.iter().find(|event| event["side"] == side).unwrap();
        assert_eq!(event["certificate"]["serial"], *new.serial, "{event:#?}");
        assert_eq!(event["renews"]["serial"], *old.serial, "{event:#?}");
        assert_eq!(renewed(&found[0], side == "server"), slice::from_ref(&old.serial));
        let [left, whole] = ["seconds_left", "lifetime_seconds"]
            .map(|field| event["renews"][field].as_f64().unwrap());
        assert!(0.0 < left && left < whole, "{event:#?}");
    }
    assert_eq!(scene.agent.drifts(), Vec::<Value>::new());
}
