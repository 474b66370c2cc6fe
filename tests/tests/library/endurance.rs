//! Proxies that make handshakes all the time, while probes come and go, and while they load their
//! configuration anew and are replaced by another file: no request fails.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use hopsight_capture::{LiveSource, Source as _};
use hopsight_core::model::{Event, LibraryObservation};
use hopsight_tests::{case::Proxy, http};

use crate::{
    proxies::{Scene, is_installed},
    support::{messages, possible},
};

/// Clients at once.
const CLIENTS: usize = 4;

/// Handshakes of each proxy where no variable says how many.
const HANDSHAKES: usize = 300;

/// How often everything happens at least.
const ROUNDS: usize = 2;

/// The requests of all clients.
struct Traffic {
    front: SocketAddr,
    over: AtomicBool,
    begun: AtomicUsize,
    running: AtomicUsize,
    paused: AtomicBool,
    failed: Mutex<Vec<String>>,
}

impl Traffic {
    fn to(front: SocketAddr) -> Self {
        Self {
            front,
            over: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    fn has_failed(&self) -> bool {
        !self.failed.lock().unwrap().is_empty()
    }

    /// One client: a request after the other, each a handshake of the proxy.
    fn send(&self) {
        while !self.over.load(SeqCst) && !self.has_failed() {
            self.running.fetch_add(1, SeqCst);
            if self.paused.load(SeqCst) {
                self.running.fetch_sub(1, SeqCst);
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let number = self.begun.fetch_add(1, SeqCst);
            let answer = http::get(self.front, "/").map(|response| response.status);
            if !matches!(answer, Ok(200)) {
                self.failed.lock().unwrap().push(format!("request {number}: {answer:?}"));
            }
            self.running.fetch_sub(1, SeqCst);
        }
    }

    /// Does something while no request is under way.
    fn pausing(&self, work: impl FnOnce()) {
        self.paused.store(true, SeqCst);
        while self.running.load(SeqCst) > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        work();
        self.paused.store(false, SeqCst);
    }
}

/// Reads for this long; how many ClientHellos the library showed. Other processes of the same name,
/// which other tests run, do not count.
fn read(scene: &Scene, source: &mut LiveSource, during: Duration) -> usize {
    let start = Instant::now();
    let mut events = Vec::new();
    // One that ends meanwhile counts too.
    let processes = scene.processes();
    while start.elapsed() < during {
        source.poll(Duration::from_millis(50), &mut events).unwrap();
    }
    let processes = [processes, scene.processes()].concat();
    let hellos = events.iter().filter_map(hello_of);
    hellos.filter(|pid| processes.contains(pid)).count()
}

/// Who sent a ClientHello.
fn hello_of(event: &Event) -> Option<u32> {
    let Event::Library(event) = event else { return None };
    let LibraryObservation::TranscriptUpdate { bytes, .. } = &event.observation else {
        return None;
    };
    messages(bytes).first().is_some_and(|kind| kind == "1").then_some(event.pid)
}

/// Ends the traffic.
struct End<'t>(&'t Traffic);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
        self.0.paused.store(false, SeqCst);
    }
}

/// Lets a proxy make so many handshakes, and more.
fn endure(proxy: Proxy, handshakes: usize) {
    let mut scene = Scene::start(proxy).unwrap();
    let traffic = Traffic::to(scene.front);
    let (mut rounds, mut seen) = (0, 0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| traffic.send());
        }
        // What panics here must not leave the clients at work.
        let _end = End(&traffic);
        while !traffic.has_failed() && (rounds < ROUNDS || traffic.begun.load(SeqCst) < handshakes)
        {
            rounds += 1;
            let mut source = scene.watch();
            seen += read(&scene, &mut source, Duration::from_millis(300));
            for step in [Scene::reload, Scene::replace] {
                if scene.is_seamless() {
                    step(&mut scene).unwrap();
                } else {
                    traffic.pausing(|| step(&mut scene).unwrap());
                }
                seen += read(&scene, &mut source, Duration::from_millis(300));
            }
        }
    });
    let failed = traffic.failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{proxy:?}, round {rounds}: {failed:?}\n{}", scene.log());
    scene.ensure_running().unwrap();
    // What replaced it is seen from inside as well.
    let mut source = scene.watch();
    for _ in 0..10 {
        assert_eq!(http::get(scene.front, "/").unwrap().status, 200);
    }
    let shown = read(&scene, &mut source, Duration::from_secs(1));
    assert_eq!(shown, 10, "{proxy:?}: {:?}", source.library_statuses().read());
    assert!(seen > 0, "{proxy:?}: nothing was seen under load");
    let made = traffic.begun.into_inner();
    println!("{proxy:?}: {made} handshakes, {seen} seen, {rounds} rounds");
}

fn handshakes() -> usize {
    std::env::var("HOPSIGHT_HANDSHAKES").map_or(HANDSHAKES, |number| number.parse().unwrap())
}

#[test]
fn nginx_endures() {
    if possible("nginx_endures", &["nginx"]) {
        endure(Proxy::Nginx, handshakes());
    }
}

#[test]
fn haproxy_endures() {
    if possible("haproxy_endures", &["nginx", "haproxy"]) {
        endure(Proxy::Haproxy, handshakes());
    }
}

#[test]
fn envoy_endures() {
    if possible("envoy_endures", &["nginx"]) && is_installed(Proxy::Envoy) {
        endure(Proxy::Envoy, handshakes());
    }
}

#[test]
fn caddy_endures() {
    if possible("caddy_endures", &["nginx"]) && is_installed(Proxy::Caddy) {
        endure(Proxy::Caddy, handshakes());
    }
}
