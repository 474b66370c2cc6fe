//! Scrapers that are slow, large or many.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use hopsight_tests::{
    agent::Agent,
    case, http,
    load::Load,
    requirement,
    topology::{Hop, Network, Topology},
};

/// Scrapes at once.
const SCRAPES: usize = 1000;
/// Connections that never finish their request.
const SLOW: usize = 200;
/// What the agent may grow by while all that happens.
const GROWTH: u64 = 64 << 20;

/// Sends a request byte by byte, forever.
fn slowly(address: SocketAddr, stop: &AtomicBool) {
    let Ok(mut stream) = http::connect(address) else { return };
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ".iter();
    for byte in request.chain(std::iter::repeat(&b'a')) {
        if stop.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Sends a header of 4 MB; whether the agent ended it.
fn large_header(address: SocketAddr) -> bool {
    let mut stream = http::connect(address).unwrap();
    let line = format!("X-Large: {}\r\n", "a".repeat(1000));
    let mut sent = stream.write_all(b"GET /metrics HTTP/1.1\r\n").is_ok();
    for _ in 0..4000 {
        sent = sent && stream.write_all(line.as_bytes()).is_ok();
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let refused = String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 431");
    refused || !sent || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn send_scrape(address: SocketAddr) -> TcpStream {
    let mut stream = http::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn hostile_scrapers_cost_neither_traffic_nor_verdicts() {
    let test = "hostile_scrapers_cost_neither_traffic_nor_verdicts";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let topology = Topology::start(&case::named(&["http", "mtls12"]), Network::Ipv4).unwrap();
    let mut agent = Agent::watching(&topology, "agent", &["--no-library"]).unwrap();
    let before = agent.resident().unwrap();
    let hops: Vec<&Hop> = topology.hops.iter().collect();
    let load = Load::default();
    let stop = AtomicBool::new(false);
    let (waited, peak) = load.during(&hops, 1, || {
        thread::scope(|scope| {
            for _ in 0..SLOW {
                scope.spawn(|| slowly(agent.http, &stop));
            }
            let refused: Vec<_> =
                (0..4).map(|_| scope.spawn(|| large_header(agent.http))).collect();
            // Slow ones hold places for the header timeout only: an honest scrape gets through.
            let start = Instant::now();
            let mut honest = send_scrape(agent.http);
            let mut answer = String::new();
            honest.read_to_string(&mut answer).unwrap();
            let waited = start.elapsed();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.200}");
            stop.store(true, Ordering::Relaxed);
            for refused in refused {
                assert!(refused.join().unwrap(), "a header of 4 MB was taken");
            }
            let peak = agent.resident().unwrap();
            (waited, peak)
        })
    });
    println!("behind {SLOW} slow requests a scrape took {waited:?}; {} MiB resident", peak >> 20);

    let peak = load_with_scrapes(&agent, &hops).max(peak);
    assert_eq!(load.failures(), Vec::<String>::new());
    assert!(peak < before + GROWTH, "{before} bytes before, {peak} at its highest");
    agent.daemon.ensure_running().unwrap();
    for hop in &topology.hops {
        let reports = agent.wait_finals(hop.dial, 1).unwrap();
        let wrong =
            reports.iter().find(|report| report.verdict.security != hop.case.expected.security);
        assert!(wrong.is_none(), "{wrong:#?}");
    }
}

/// All scrapes at once beside the load; the highest resident memory seen.
fn load_with_scrapes(agent: &Agent, hops: &[&Hop]) -> u64 {
    let load = Load::default();
    let (answered, peak) = load.during(hops, 1, || {
        let start = Instant::now();
        let streams: Vec<TcpStream> = thread::scope(|scope| {
            let parts: Vec<_> = (0..20)
                .map(|_| {
                    let send = |_| send_scrape(agent.http);
                    scope.spawn(move || (0..SCRAPES / 20).map(send).collect::<Vec<_>>())
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        });
        let mut peak = 0;
        let mut answered = 0;
        for mut stream in streams {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            answered += usize::from(text.starts_with(b"HTTP/1.1 200"));
            peak = peak.max(agent.resident().unwrap());
        }
        println!("{SCRAPES} scrapes at once were answered in {:?}", start.elapsed());
        (answered, peak)
    });
    assert_eq!(answered, SCRAPES);
    assert_eq!(load.failures(), Vec::<String>::new());
    peak
}
