//! Processes and files come and go under the probes; traffic must not notice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use hopsight_capture::{LibraryEvidence, LiveSource, NoLibrary, Sampling, Source as _};
use hopsight_core::model::{Event, LibraryObservation};
use hopsight_tests::{cgroup::Cgroup, process::own_name};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Authority, Running, count, free_port, get, messages, nginx, nginx_called, nginx_with, possible,
    source, source_of, source_with, wait_evidence, wait_for_port,
};

const REQUESTS: usize = 1000;

/// Where Debian puts it.
const SYSTEM_LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// A one-way TLS 1.3 hop between two nginx.
struct Hop {
    directory: tempfile::TempDir,
    port: u16,
    proxy: Option<Running>,
    http: String,
    program: PathBuf,
    _upstream: Running,
}

impl Hop {
    /// The proxy, whose processes have the [`own_name`] of `name`, loads its libraries from the
    /// folder `lib` in `directory`, if there is one.
    fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let authority = Authority::new(here, "ca");
        authority.issue("server", vec!["upstream.test".to_owned()]);
        let (d, tls_port, port) = (here.display(), free_port(), free_port());
        let servers = format!(
            "server {{ listen 127.0.0.1:{tls_port} ssl; ssl_protocols TLSv1.3; \
             ssl_certificate {d}/server.pem; ssl_certificate_key {d}/server.key; \
             location / {{ return 200 ok; }} }}"
        );
        let upstream = nginx(here, "upstream", &servers);
        let http = format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ \
             proxy_pass https://127.0.0.1:{tls_port}; proxy_ssl_protocols TLSv1.3; \
             proxy_ssl_session_reuse off; }} }}"
        );
        wait_for_port(tls_port);
        let program = nginx_called(here, &own_name(name));
        let mut hop = Self { directory, port, proxy: None, http, program, _upstream: upstream };
        hop.start_proxy();
        hop
    }

    fn libraries(&self) -> PathBuf {
        self.directory.path().join("lib")
    }

    fn start_proxy(&mut self) {
        self.proxy = None;
        let libraries = self.libraries();
        let here = self.directory.path();
        let proxy = nginx_with(here, "proxy", &self.http, &self.program, |command| {
            command.env("LD_LIBRARY_PATH", libraries)
        });
        self.proxy = Some(proxy);
        wait_for_port(self.port);
    }

    fn proxy(&self) -> &Running {
        self.proxy.as_ref().unwrap()
    }

    fn requests(&self, number: usize) {
        for index in 0..number {
            let status = get(self.port, "/");
            assert!(status.contains("200"), "request {index} of {number}: {status}");
        }
    }
}

/// Complete client handshakes among events: their last message is the client's Finished.
fn handshakes(events: &[Event]) -> usize {
    let finished = events.iter().filter(|event| {
        let Event::Library(event) = event else { return false };
        let LibraryObservation::TranscriptUpdate { bytes, .. } = &event.observation else {
            return false;
        };
        messages(bytes) == ["20"]
    });
    finished.count() / 2
}

/// Reads `source` on a thread of its own while `work` runs; what it delivered.
fn while_reading(source: &mut LiveSource, work: impl FnOnce()) -> Vec<Event> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut events = Vec::new();
            while !stop.load(Relaxed) {
                source.poll(Duration::from_millis(50), &mut events).unwrap();
            }
            source.poll(Duration::from_millis(200), &mut events).unwrap();
            source.poll(Duration::from_millis(200), &mut events).unwrap();
            events
        });
        work();
        stop.store(true, Relaxed);
        reader.join().unwrap()
    })
}

#[test]
fn nginx_reloads() {
    if !possible("nginx_reloads", &["nginx"]) {
        return;
    }
    let hop = Hop::start("reload");
    let mut source = source(&own_name("reload"));
    let events = while_reading(&mut source, || {
        for _ in 0..5 {
            hop.requests(REQUESTS / 5);
            hop.proxy().signal(Signal::HUP);
        }
    });
    assert_eq!(handshakes(&events), REQUESTS);
    assert_eq!(count(&source, "lost"), 0);
}

#[test]
fn workers_of_nginx_die() {
    if !possible("workers_of_nginx_die", &["nginx"]) {
        return;
    }
    let hop = Hop::start("crash");
    let mut source = source(&own_name("crash"));
    let events = while_reading(&mut source, || {
        for _ in 0..5 {
            while hop.proxy().pids().len() < 2 {
                std::thread::sleep(Duration::from_millis(10));
            }
            let worker = hop.proxy().pids()[1];
            kill_process(Pid::from_raw(worker.cast_signed()).unwrap(), Signal::KILL).unwrap();
            // The master starts another one.
            while hop.proxy().pids().get(1).is_none_or(|pid| *pid == worker) {
                std::thread::sleep(Duration::from_millis(10));
            }
            hop.requests(REQUESTS / 5);
        }
    });
    assert_eq!(handshakes(&events), REQUESTS);
    assert_eq!(count(&source, "lost"), 0);
}

#[test]
fn only_what_is_in_the_cgroup_is_looked_into() {
    let test = "only_what_is_in_the_cgroup_is_looked_into";
    if !possible(test, &["nginx"]) {
        return;
    }
    let (inside, outside) = (Hop::start("inside"), Hop::start("outside"));
    let elsewhere = Cgroup::create().unwrap();
    elsewhere.adopt(outside.proxy().0.id()).unwrap();
    let names = [own_name("inside"), own_name("outside")];
    let mut source = source_of(&[&names[0], &names[1]], |_| ());
    let is_known = |source: &LiveSource, hop: &Hop| {
        let statuses = source.library_statuses().read();
        statuses.iter().any(|status| hop.proxy().pids().contains(&status.pid))
    };
    let pid = inside.proxy().0.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    assert!(!is_known(&source, &outside));
    // It comes here, and so does another one.
    elsewhere.empty();
    let here = Cgroup::of_this_process().unwrap();
    for pid in outside.proxy().pids() {
        fs::write(here.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    let pid = outside.proxy().0.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
}

fn copy_library(to: &Path) {
    fs::create_dir_all(to).unwrap();
    let new = to.join("libssl.so.3.new");
    fs::copy(SYSTEM_LIBRARY, &new).unwrap();
    fs::rename(new, to.join("libssl.so.3")).unwrap();
}

#[test]
fn libssl_is_upgraded_under_a_running_proxy() {
    if !possible("libssl_is_upgraded_under_a_running_proxy", &["nginx"])
        || !Path::new(SYSTEM_LIBRARY).exists()
    {
        return;
    }
    let mut hop = Hop::start("upgrade");
    copy_library(&hop.libraries());
    hop.start_proxy();
    // Upgraded before the agent sees the proxy: the mapped file no longer has a name.
    copy_library(&hop.libraries());
    let mut source = source(&own_name("upgrade"));
    let events = while_reading(&mut source, || hop.requests(REQUESTS / 2));
    assert_eq!(handshakes(&events), REQUESTS / 2, "the deleted file");

    let events = while_reading(&mut source, || {
        hop.proxy().signal(Signal::HUP);
        hop.requests(REQUESTS / 2);
    });
    assert_eq!(handshakes(&events), REQUESTS / 2, "workers forked from the old master");

    hop.start_proxy();
    let pid = hop.proxy().0.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    let events = while_reading(&mut source, || hop.requests(REQUESTS / 2));
    assert_eq!(handshakes(&events), REQUESTS / 2, "the new file");
}

#[test]
fn a_new_library_is_probed_from_the_first_connection_on() {
    let test = "a_new_library_is_probed_from_the_first_connection_on";
    if !possible(test, &["nginx"]) || !Path::new(SYSTEM_LIBRARY).exists() {
        return;
    }
    let mut hop = Hop::start("new");
    copy_library(&hop.libraries());
    hop.proxy = None;
    let mut source =
        source_with(&own_name("new"), |options| options.rescan = Duration::from_hours(1));
    hop.start_proxy();
    // Its own handshake may be over before the probes are there.
    while_reading(&mut source, || hop.requests(1));
    let worker = hop.proxy().pids()[1];
    wait_evidence(&mut source, worker, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    let attached = source.library_statuses().attached();
    assert!(
        attached.iter().any(|(stack, places)| *stack == "openssl" && *places > 0),
        "{attached:?}"
    );
    let events = while_reading(&mut source, || hop.requests(20));
    assert_eq!(handshakes(&events), 20);
}

#[test]
fn probes_come_with_a_program_and_go_with_its_last_process() {
    let test = "probes_come_with_a_program_and_go_with_its_last_process";
    if !possible(test, &["nginx"]) || !Path::new(SYSTEM_LIBRARY).exists() {
        return;
    }
    let mut hop = Hop::start("whole");
    copy_library(&hop.libraries());
    hop.proxy = None;
    let mut source =
        source_with(&own_name("whole"), |options| options.rescan = Duration::from_hours(1));
    hop.start_proxy();
    let pid = hop.proxy().0.id();
    // Before it opened a connection.
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    let events = while_reading(&mut source, || hop.requests(20));
    assert_eq!(handshakes(&events), 20, "the first among them");
    let places = |source: &LiveSource| {
        source.library_statuses().attached().iter().map(|(_, places)| places).sum::<u64>()
    };
    let before = places(&source);
    hop.proxy = None;
    // Those in nginx itself; the library waits for the scan.
    let deadline = Instant::now() + Duration::from_secs(20);
    while places(&source) == before {
        assert!(Instant::now() < deadline, "{before} places");
        source.poll(Duration::from_millis(20), &mut Vec::new()).unwrap();
    }
}

/// An overlay mount, taken away with the test.
struct Overlay(PathBuf);

impl Overlay {
    /// Mounts at `to` what `lower` holds; `None` where that is not possible.
    fn mount(lower: &Path, to: &Path, name: &str) -> Option<Self> {
        let own = |kind: &str| {
            let folder = lower.with_file_name(format!("{name}-{kind}"));
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        fs::create_dir_all(to).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            own("upper").display(),
            own("work").display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(to);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(to.to_owned()))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn containers_of_one_image_are_probed_once() {
    if !possible("containers_of_one_image_are_probed_once", &["nginx", "mount"])
        || !Path::new(SYSTEM_LIBRARY).exists()
    {
        return;
    }
    let image = tempfile::tempdir().unwrap();
    let lower = image.path().join("lower");
    copy_library(&lower);
    let mut hops = [Hop::start("image"), Hop::start("image")];
    let mut mounts = Vec::new();
    for (hop, name) in hops.iter_mut().zip(["a", "b"]) {
        let Some(mount) = Overlay::mount(&lower, &hop.libraries(), name) else {
            hopsight_test_support::not_run("overlay", "containers_of_one_image_are_probed_once");
            return;
        };
        mounts.push(mount);
        hop.start_proxy();
    }
    let mut source = source(&own_name("image"));
    let events = while_reading(&mut source, || hops.iter().for_each(|hop| hop.requests(20)));
    assert_eq!(handshakes(&events), 40);
    drop(hops);
}

#[test]
fn the_agent_restarts() {
    if !possible("the_agent_restarts", &["nginx"]) {
        return;
    }
    let hop = Hop::start("restart");
    for _ in 0..4 {
        let mut source = source(&own_name("restart"));
        let events = while_reading(&mut source, || hop.requests(REQUESTS / 5));
        assert_eq!(handshakes(&events), REQUESTS / 5);
        std::thread::scope(|scope| {
            // Probes go away in the middle of handshakes.
            scope.spawn(|| hop.requests(REQUESTS / 20));
            std::thread::sleep(Duration::from_millis(20));
            drop(source);
        });
    }
}

#[test]
fn between_windows_nothing_is_probed() {
    if !possible("between_windows_nothing_is_probed", &["nginx"]) {
        return;
    }
    let hop = Hop::start("windows");
    let mut source = source_with(&own_name("windows"), |options| {
        options.library_sampling =
            Sampling::Interval { window: Duration::from_secs(10), every: Duration::from_mins(10) };
    });
    let events = while_reading(&mut source, || hop.requests(20));
    assert_eq!(handshakes(&events), 20);
    let pid = hop.proxy().0.id();
    let is_paused = |evidence: &LibraryEvidence| {
        matches!(evidence, LibraryEvidence::Inferred { reason: NoLibrary::Paused, .. })
    };
    wait_evidence(&mut source, pid, is_paused);
    let attached = source.library_statuses().attached();
    assert!(attached.iter().all(|(_, places)| *places == 0), "{attached:?}");
    // The kernel removes probes one after the other, those of other tests too.
    let is_removed = (0..40).any(|_| {
        let before = count(&source, "hit");
        while_reading(&mut source, || hop.requests(1));
        count(&source, "hit") == before
    });
    assert!(is_removed, "the probes are still there");
    let before = count(&source, "hit");
    let events = while_reading(&mut source, || hop.requests(20));
    assert_eq!(handshakes(&events), 0);
    assert_eq!(count(&source, "hit"), before, "not even a hit");
    wait_evidence(&mut source, pid, is_paused);
}
