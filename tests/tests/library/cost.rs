//! What the probes cost the proxy, in processor time per upstream handshake.
//!
//! `cargo xtask bench probes`

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use hopsight_capture::{LiveSource, Source as _};
use hopsight_tests::{case::Proxy, http, process::own_name};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    proxies::{Scene, is_installed},
    support::{
        Running, count, free_port, get, nginx_called, nginx_with, possible, source_with,
        wait_for_port,
    },
};

const NAME: &str = "cost";

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn handshakes() -> usize {
    setting("HOPSIGHT_HANDSHAKES", 60)
}

const MODES: [Mode; 3] = [Mode::Nothing, Mode::Network, Mode::Library];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nothing,
    Network,
    Library,
}

/// Nanoseconds on a processor: the first field of `schedstat`, of every thread.
fn processor_time(pids: &[u32]) -> u64 {
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default()
    };
    let of = |pid: &u32| -> u64 {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.map(of_thread).sum()
    };
    pids.iter().map(of).sum()
}

fn openssl(directory: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "openssl {arguments}");
}

/// One self-signed certificate plays authority, server and client.
fn certificate(directory: &Path, kind: &str) {
    let key = match kind {
        "rsa" => "rsa:2048",
        _ => "ec -pkeyopt ec_paramgen_curve:P-256",
    };
    openssl(
        directory,
        &format!(
            "req -x509 -newkey {key} -nodes -days 2 -subj /CN=upstream.test \
             -keyout {kind}.key -out {kind}.pem"
        ),
    );
}

/// What is measured.
struct Subject<'s> {
    name: &'s str,
    /// Probe hits of one handshake.
    hits: u64,
    /// Processes of which the processor time counts.
    sides: &'s [(&'s str, Vec<u32>)],
    /// Makes one request, with a handshake of its own.
    request: &'s dyn Fn(),
    /// Starts hopsight.
    source: &'s dyn Fn(bool) -> LiveSource,
}

impl Subject<'_> {
    /// Processor time of each side per handshake, in nanoseconds.
    fn round(&self) -> Vec<f64> {
        let times = || self.sides.iter().map(|(_, pids)| processor_time(pids)).collect::<Vec<_>>();
        let before = times();
        for _ in 0..handshakes() {
            (self.request)();
        }
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
        let each = |(after, before): (u64, &u64)| (after - before) as f64 / handshakes() as f64;
        times().into_iter().zip(&before).map(each).collect()
    }

    fn start(&self, mode: Mode) -> Option<LiveSource> {
        (mode != Mode::Nothing).then(|| (self.source)(mode == Mode::Library))
    }

    /// Measures all modes in turns, so that what else the machine does falls on all alike, and
    /// prints the result.
    fn measure(&self) {
        self.round();
        let mut measured = [const { Vec::new() }; MODES.len()];
        for turn in 0..setting("HOPSIGHT_ROUNDS", 40) {
            for index in 0..MODES.len() {
                let index = (index + turn) % MODES.len();
                let source = self.start(MODES[index]);
                let (mut times, reader) = with_source(source, self.hits, || self.round());
                times.push(reader);
                measured[index].push(times);
            }
        }
        let name = self.name;
        let [nothing, network, library] = &measured;
        let reader = self.sides.len();
        for (mode, programs) in [(network, "network programs"), (library, "with library probes")] {
            let time = quartiles(mode.iter().map(|times| times[reader] / 1e3));
            println!("{name} agent, {programs}: {time} us per handshake");
        }
        for (side, (process, _)) in self.sides.iter().enumerate() {
            let time = quartiles(nothing.iter().map(|times| times[side] / 1e6));
            println!("{name} {process}: {time} ms per handshake without hopsight");
            println!("{name} {process}: x{} with network programs", ratio(network, nothing, side));
            println!(
                "{name} {process}: x{} more with library probes",
                ratio(library, network, side)
            );
            let added = quartiles(pairs(library, network, side).map(|(a, b)| (a - b) / 1e3));
            println!("{name} {process}: {added} us added by library probes");
        }
    }
}

/// Runs `work` while `source` is read as the agent reads it; also the reader's processor time, in
/// nanoseconds per handshake.
fn with_source<T>(source: Option<LiveSource>, hits: u64, work: impl FnOnce() -> T) -> (T, f64) {
    let Some(mut source) = source else { return (work(), 0.0) };
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut events = Vec::new();
            let started = clock_gettime(ClockId::ThreadCPUTime);
            while !stop.load(Relaxed) {
                source.poll(Duration::from_millis(100), &mut events).unwrap();
                events.clear();
            }
            let time = clock_gettime(ClockId::ThreadCPUTime) - started;
            // Other programs of the machine may use the same libssl.
            let unwatched = count(&source, "unwatched");
            let counted = count(&source, "hit") - unwatched;
            // They may hit between the two readings.
            assert!(counted < 100 || counted >= hits * handshakes() as u64, "{counted} hits");
            for program in source.stats().read().programs {
                if program.run_count > 0 {
                    println!(
                        "    {}: {} runs, {} ns each",
                        program.name,
                        program.run_count,
                        program.run_time.as_nanos() / u128::from(program.run_count)
                    );
                }
            }
            drop(source);
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
            let nanoseconds = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as f64;
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let handshakes = handshakes() as f64;
            nanoseconds / handshakes
        });
        let result = work();
        stop.store(true, Relaxed);
        (result, reader.join().unwrap())
    });
    wait_for_removal();
    result
}

/// Probes are removed by threads of their own.
fn wait_for_removal() {
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    // The test and its runner.
    while threads() > 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pairs<'a>(
    left: &'a [Vec<f64>],
    right: &'a [Vec<f64>],
    side: usize,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    left.iter().zip(right).map(move |(left, right)| (left[side], right[side]))
}

fn ratio(left: &[Vec<f64>], right: &[Vec<f64>], side: usize) -> Quartiles {
    quartiles(pairs(left, right, side).map(|(left, right)| left / right))
}

/// Median and the quartiles on both sides of it.
struct Quartiles([f64; 3]);

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, median, high] = self.0;
        write!(f, "{median:.3} ({low:.3} to {high:.3})")
    }
}

fn quartiles(values: impl Iterator<Item = f64>) -> Quartiles {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    Quartiles([1, 2, 3].map(|quarter| values[values.len() * quarter / 4]))
}

#[test]
#[ignore = "a measurement: takes a minute and wants a quiet machine"]
fn cost() {
    if !possible("cost", &["nginx", "openssl"]) {
        return;
    }
    for kind in ["rsa", "ec"] {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        certificate(here, kind);
        let (d, tls_port, port) = (here.display(), free_port(), free_port());
        let upstream = format!(
            "server {{ listen 127.0.0.1:{tls_port} ssl; ssl_protocols TLSv1.3; \
             ssl_certificate {d}/{kind}.pem; ssl_certificate_key {d}/{kind}.key; \
             ssl_client_certificate {d}/{kind}.pem; ssl_verify_client on; \
             location / {{ return 200 ok; }} }}"
        );
        let proxy = format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass https://127.0.0.1:{tls_port}; \
             proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off; \
             proxy_ssl_certificate {d}/{kind}.pem; proxy_ssl_certificate_key {d}/{kind}.key; }} }}"
        );
        let program = nginx_called(here, &own_name(NAME));
        let [upstream, proxy] = [("upstream", upstream), ("proxy", proxy)]
            .map(|(name, http)| nginx_with(here, name, &http, &program, |command| command));
        [tls_port, port].into_iter().for_each(wait_for_port);
        let workers = |nginx: &Running| nginx.pids().split_off(1);
        let name = own_name(NAME);
        Subject {
            name: &format!("nginx, {kind}"),
            // 13 in the client, which gets two tickets, and 13 in the server, which asks for the
            // verification result itself.
            hits: 26,
            sides: &[("proxy", workers(&proxy)), ("upstream", workers(&upstream))],
            request: &|| assert!(get(port, "/").contains("200")),
            source: &|library| source_with(&name, |options| options.library = library),
        }
        .measure();
    }
}

#[test]
#[ignore = "a measurement: takes minutes and wants a quiet machine"]
fn cost_of_others() {
    for (proxy, hits) in [(Proxy::Caddy, 9), (Proxy::Envoy, 10)] {
        if !possible("cost_of_others", &["nginx"]) || !is_installed(proxy) {
            continue;
        }
        let scene = Scene::start(proxy).unwrap();
        let name = format!("{proxy:?}");
        let cgroup = Some(scene.cgroup.path().to_owned());
        Subject {
            name: &name,
            hits,
            sides: &[("proxy", scene.pids())],
            request: &|| assert_eq!(http::get(scene.front, "/").unwrap().status, 200),
            source: &|library| {
                source_with(proxy.process_name(), |options| {
                    options.library = library;
                    options.cgroup.clone_from(&cgroup);
                })
            },
        }
        .measure();
    }
}
