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
use hopsight_tests::process::own_name;
use rustix::time::{ClockId, clock_gettime};

use crate::support::{
    Running, count, free_port, get, nginx_called, nginx_with, possible, source_with, wait_for_port,
};

const NAME: &str = "cost";

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn handshakes() -> usize {
    setting("HOPSIGHT_HANDSHAKES", 60)
}

/// Probe hits of one handshake, both sides: 11 in the client, 13 in the server, which asks for the
/// verification result itself.
const HITS: u64 = 24;

const MODES: [Mode; 3] = [Mode::Nothing, Mode::Network, Mode::Library];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nothing,
    Network,
    Library,
}

/// Nanoseconds on a processor: the first field of `schedstat`, of every thread.
fn processor_time(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default()
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

/// Proxy time and upstream time per handshake, in nanoseconds.
fn round(port: u16, proxy: &Running, upstream: &Running) -> [f64; 2] {
    let workers = |nginx: &Running| nginx.pids().split_off(1);
    let (proxy, upstream) = (workers(proxy), workers(upstream));
    let before = [processor_time(&proxy), processor_time(&upstream)];
    for _ in 0..handshakes() {
        assert!(get(port, "/").contains("200"));
    }
    let after = [processor_time(&proxy), processor_time(&upstream)];
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
    [0, 1].map(|side| (after[side] - before[side]) as f64 / handshakes() as f64)
}

/// Runs `work` while `source` is read as the agent reads it; also the reader's processor time, in
/// nanoseconds per handshake.
fn with_source<T>(source: Option<LiveSource>, work: impl FnOnce() -> T) -> (T, f64) {
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
            let hits = count(&source, "hit") - unwatched;
            // They may hit between the two readings.
            assert!(hits < 100 || hits >= HITS * handshakes() as u64, "{hits} hits");
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

fn start(mode: Mode) -> Option<LiveSource> {
    (mode != Mode::Nothing)
        .then(|| source_with(&own_name(NAME), |options| options.library = mode == Mode::Library))
}

fn pairs<'a>(
    left: &'a [[f64; 3]],
    right: &'a [[f64; 3]],
    side: usize,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    left.iter().zip(right).map(move |(left, right)| (left[side], right[side]))
}

fn ratio(left: &[[f64; 3]], right: &[[f64; 3]], side: usize) -> Quartiles {
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
        round(port, &proxy, &upstream);

        // In turns, so that what else the machine does falls on all modes alike.
        let mut measured = [const { Vec::new() }; MODES.len()];
        for turn in 0..setting("HOPSIGHT_ROUNDS", 40) {
            for index in 0..MODES.len() {
                let index = (index + turn) % MODES.len();
                let source = start(MODES[index]);
                let (times, reader) = with_source(source, || round(port, &proxy, &upstream));
                measured[index].push([times[0], times[1], reader]);
            }
        }
        let source = source_with(&own_name(NAME), |options| options.program_statistics = true);
        with_source(Some(source), || round(port, &proxy, &upstream));
        let [nothing, network, library] = &measured;
        for (mode, name) in [(network, "network programs"), (library, "with library probes")] {
            let time = quartiles(mode.iter().map(|times| times[2] / 1e3));
            println!("{kind} agent, {name}: {time} us per handshake");
        }
        for (side, name) in ["proxy", "upstream"].iter().enumerate() {
            let time = quartiles(nothing.iter().map(|times| times[side] / 1e6));
            println!("{kind} {name}: {time} ms per handshake without hopsight");
            println!("{kind} {name}: x{} with network programs", ratio(network, nothing, side));
            println!("{kind} {name}: x{} more with library probes", ratio(library, network, side));
            let added = quartiles(pairs(library, network, side).map(|(a, b)| (a - b) / 1e3));
            println!("{kind} {name}: {added} us added by library probes");
        }
    }
}
