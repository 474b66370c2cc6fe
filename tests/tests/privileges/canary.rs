//! No payload and no ticket leaves the agent: a word that every hop carried, and the tickets that proxies
//! offered, are in nothing the agent says.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use hopsight_capture::{LiveOptions, LiveSource, Source as _};
use hopsight_core::model::{Direction, Event, hex};
use hopsight_tests::{
    agent::Agent,
    case::{self, Case},
    http,
    nginx::utf8,
    requirement,
    topology::{Network, Topology},
};

/// In a path, a query, headers, a body and a response; never in anything else.
const CANARY: &str = "hs-canary-5f1d0c9e7a";

/// An agent that says all it ever would, to all who listen.
struct Talkative {
    agent: Agent,
    dir: PathBuf,
    stream: TcpStream,
}

impl Talkative {
    fn start(topology: &Topology) -> anyhow::Result<Self> {
        let dir = topology.dir().join("agent");
        let state = dir.join("state");
        let mut options = vec!["--state", utf8(&state)?, "--json-logs"];
        options.extend(topology.cgroup().options()?);
        let cases: Vec<Case> = topology.hops.iter().map(|hop| hop.case).collect();
        for name in case::process_names(&cases) {
            options.extend(["--proxy", name]);
        }
        // Everything the agent would ever log.
        let launcher = ["env", "HOPSIGHT_LOG=trace"];
        let agent = Agent::start_through(&launcher, &dir, topology.spare_address(), &options)?;
        let mut stream = http::connect(agent.http)?;
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")?;
        Ok(Self { agent, dir, stream })
    }

    /// Everything that it has said, by where. Ends the agent.
    fn outputs(mut self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut outputs = vec![
            ("log", self.agent.daemon.log()),
            ("event file", fs::read_to_string(self.dir.join("events.jsonl"))?),
        ];
        for path in ["/", "/metrics", "/hops", "/readyz", "/livez"] {
            outputs.push((path, self.agent.get(path)?.body));
        }
        self.stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut events = Vec::new();
        let _ = self.stream.read_to_end(&mut events);
        outputs.push(("/events", String::from_utf8_lossy(&events).into_owned()));
        drop(self.agent);
        outputs.push(("state", read_all(&self.dir.join("state"))));
        for (output, text) in &outputs {
            anyhow::ensure!(text.len() > 2, "{output} is empty");
        }
        Ok(outputs)
    }
}

#[test]
fn payload_is_in_no_output() {
    if !requirement::met("payload_is_in_no_output", &["nginx", "haproxy", "curl"]) {
        return;
    }
    let topology = Topology::start(&requirement::runnable(case::ALL), Network::Ipv4).unwrap();
    let talkative = Talkative::start(&topology).unwrap();
    let mut carried = 0;
    for hop in &topology.hops {
        // Hops that are refused carry nothing; that is as well.
        carried +=
            usize::from(hop.request_carrying(CANARY).is_ok_and(|body| body.contains(CANARY)));
    }
    assert!(carried >= 20, "{carried} of {} hops answered with it", topology.hops.len());
    for hop in &topology.hops {
        talkative.agent.wait_finals(hop.dial, 1).unwrap();
    }
    let outputs = talkative.outputs().unwrap();
    for (output, text) in &outputs {
        let line = text.lines().find(|line| line.contains(CANARY) || line.contains("hs-canary"));
        assert_eq!(line, None, "{output}");
        println!("{output}: {} bytes without it", text.len());
    }
    // And they are about these hops.
    assert!(outputs[1].1.lines().count() >= topology.hops.len());
}

#[test]
fn no_ticket_is_in_any_output() {
    const REQUESTS: usize = 6;
    if !requirement::met("no_ticket_is_in_any_output", &["nginx", "haproxy", "curl"]) {
        return;
    }
    let cases = case::named(&["mtls13-reuse", "tls13-reuse", "mtls12-reuse"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let talkative = Talkative::start(&topology).unwrap();
    // What is on the wire, seen beside the agent.
    let mut wire = LiveSource::start(LiveOptions {
        cgroup: Some(topology.cgroup().path().to_owned()),
        library: false,
        ..LiveOptions::default()
    })
    .unwrap();
    let mut tickets = Vec::new();
    for hop in &topology.hops {
        for _ in 0..REQUESTS {
            hop.request_carrying("x").unwrap();
        }
        talkative.agent.wait_finals(hop.dial, REQUESTS).unwrap();
    }
    let mut events = Vec::new();
    while !matches!(events.last(), Some(None)) {
        let before = events.len();
        let mut new = Vec::new();
        wire.poll(Duration::from_millis(50), &mut new).unwrap();
        events.extend(new.into_iter().map(Some));
        if events.len() == before {
            events.push(None);
        }
    }
    for event in events.into_iter().flatten() {
        if let Event::Segment { direction: Direction::ToServer, bytes, .. } = event {
            tickets.extend(offered(&bytes));
        }
    }
    assert!(tickets.len() >= 3 * (REQUESTS - 1) - 2, "{} tickets were offered", tickets.len());
    let outputs = talkative.outputs().unwrap();
    assert!(outputs[1].1.contains("carried"), "sessions were resumed");
    for (output, text) in &outputs {
        let text = text.to_ascii_lowercase();
        for ticket in &tickets {
            for part in ticket.chunks_exact(PART) {
                assert!(!text.contains(&hex(part)), "{output} has a part of a ticket");
            }
        }
        println!("{output}: {} bytes without any of {} tickets", text.len(), tickets.len());
    }
}

/// Bytes of a ticket by which it would be known again.
const PART: usize = 8;

/// The tickets that a ClientHello offers (RFC 5077 section 3.2, RFC 8446 section 4.2.11), if these
/// bytes are a record with one.
fn offered(record: &[u8]) -> Vec<Vec<u8>> {
    const SESSION_TICKET: u16 = 35;
    const PRE_SHARED_KEY: u16 = 41;
    // Headers of record and message, version, random.
    let mut rest = match record {
        [22, 3, _, _, _, 1, _, _, _, _, _, body @ ..] => body.get(32..).unwrap_or_default(),
        _ => return Vec::new(),
    };
    let mut take = |prefix: usize| {
        let (length, after) = rest.split_at_checked(prefix)?;
        let length = length.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        let (field, after) = after.split_at_checked(length)?;
        rest = after;
        Some(field)
    };
    let (_session, _suites, _compressions) = (take(1), take(2), take(1));
    let mut extensions = take(2).unwrap_or_default();
    let mut found = Vec::new();
    while let [a, b, c, d, content @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        let Some((content, after)) = content.split_at_checked(length) else { break };
        match u16::from_be_bytes([*a, *b]) {
            SESSION_TICKET => found.push(content.to_vec()),
            // The list's length, the identity's, and the age behind it.
            PRE_SHARED_KEY => {
                let length = usize::from(u16::from_be_bytes([content[2], content[3]]));
                found.push(content[4..4 + length].to_vec());
            }
            _ => {}
        }
        extensions = after;
    }
    found.retain(|ticket| ticket.len() >= PART);
    found
}

fn read_all(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}
