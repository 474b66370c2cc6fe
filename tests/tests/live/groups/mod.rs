//! What the agent says of key exchange and signatures against what the server logged: client stacks
//! times groups, with and without a HelloRetryRequest.

mod clients;
mod keys;
mod programs;
mod proxies;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hopsight_core::{
    model::{Evidence, Word},
    report::ConnectionReport,
};
use hopsight_tests::{
    agent::Agent, case::Version, cgroup::Cgroup, http, loopback::Loopback, process::Daemon,
    requirement, wait::wait_until,
};

use self::{
    clients::{Cell, Client},
    keys::Keys,
    programs::Ask,
    trace::{Server, Truth},
};

/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(20);
/// How long the agent may take to look into a client's program.
const LOOK: Duration = Duration::from_mins(1);
/// Longer than an alert, padded or not.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nUser-Agent: a test of key exchange\r\n\r\n";
/// Connections at a time.
const AT_ONCE: usize = 2;

/// Everything that runs, and where.
struct Scene {
    dir: tempfile::TempDir,
    keys: Keys,
    block: Loopback,
    cgroup: Cgroup,
    agent: Agent,
}

impl Scene {
    fn start(clients: &[Client]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::create(dir.path()).unwrap();
        let cgroup = Cgroup::create().unwrap();
        let mut options: Vec<&str> = cgroup.options().unwrap().into();
        options.extend(clients.iter().flat_map(|client| ["--proxy", client.process]));
        let block = Loopback::reserve().unwrap();
        let agent = Agent::start(&dir.path().join("agent"), block.socket(1, 9464), &options);
        Self { agent: agent.unwrap(), dir, keys, block, cgroup }
    }

    /// Makes the connection of a cell; what its server logged of it.
    fn connect(&self, cell: &Cell<'_>) -> anyhow::Result<Truth> {
        let path = |end: &str| self.dir.path().join(format!("{}.{end}", cell.number));
        let mut server = Server::start(cell, &self.keys, &path("server"))?;
        if let Some(front) = cell.front {
            // What it answers to us is nobody's concern here.
            let _ = http::get(front, "/");
            return server.truth();
        }
        let ask = Ask { cell, keys: &self.keys, dir: self.dir.path() };
        let command = cell.client.program.context("find the command line")?;
        let (program, args) = command(&ask);
        let (place, log) = (self.cgroup.place(), path("client"));
        let mut client = Daemon::spawn_reading(Stdio::piped(), &place, program, args, &log)?;
        // One that has ended needs none.
        let _ = client.write_input(REQUEST);
        wait_until("a client to be answered or to end", CONNECTION, || {
            Ok((client.log().contains(" 200 ") || client.try_wait()?.is_some()).then_some(()))
        })?;
        drop(client);
        server
            .truth()
            .map_err(|error| error.context(std::fs::read_to_string(log).unwrap_or_default()))
    }

    /// The last that was said of the connection of a cell.
    fn report(&self, cell: &Cell<'_>) -> ConnectionReport {
        let mut reports = self.agent.wait_finals(cell.address, 1).unwrap();
        assert_eq!(reports.len(), 1, "{cell}");
        reports.swap_remove(0)
    }

    /// Connects until the agent has looked into the client's program.
    fn warm(&self, client: &Client, number: &mut usize) {
        let _idle = client.idle.map(|idle| {
            let (program, args) = idle();
            let log = self.dir.path().join(format!("{}.idle", client.process));
            Daemon::spawn_reading(Stdio::piped(), &self.cgroup.place(), program, args, &log)
                .unwrap()
        });
        let group = client.groups[0];
        wait_until(&format!("the agent to look into {}", client.name), LOOK, || {
            let cell = Cell::new(client, self.block, *number, Version::V13, group, &[]);
            *number += 1;
            self.connect(&cell)?;
            let evidence = self.report(&cell).verdict.evidence;
            Ok((!client.shows || evidence == Evidence::Library).then_some(()))
        })
        .unwrap();
    }
}

/// What is wrong about what the agent says.
fn compare(cell: &Cell<'_>, truth: &Truth, report: &ConnectionReport) -> Option<String> {
    let said = &report.cryptography;
    let groups = (said.group.as_deref(), said.retried_group.as_deref());
    let signed = [&said.server_signature, &said.client_signature].map(Option::<Word>::as_deref);
    let logged = [truth.server_signature.as_deref(), truth.client_signature.as_deref()];
    // Where the library is not read TLS 1.3 hides them, and then nothing is said of them.
    let is_hidden = cell.version == Version::V13 && !cell.client.shows;
    let expected = if is_hidden { [None; 2] } else { logged };
    let is_right = groups == (truth.group.as_deref(), truth.retried.as_deref())
        && signed == expected
        && report.tls_version.as_deref() == Some(cell.version_name());
    let evidence = report.verdict.evidence;
    (!is_right).then(|| format!("{cell}: {said:?} ({evidence}) instead of {truth:?}"))
}

#[test]
fn groups_and_signatures_are_what_the_server_logged() {
    const TEST: &str = "groups_and_signatures_are_what_the_server_logged";
    if !requirement::met(TEST, &["openssl"]) {
        return;
    }
    let clients = clients::there();
    let scene = Scene::start(&clients);
    let mut number = 0;
    let mut cells: Vec<Cell<'_>> = Vec::new();
    for client in &clients {
        cells.extend(client.cells(scene.block, &mut number));
    }
    let _proxies = proxies::start(&scene, &cells);
    for client in clients.iter().filter(|client| !client.is_proxy()) {
        scene.warm(client, &mut number);
    }
    scene.agent.wait_looked_into().unwrap();
    let began = Instant::now();
    let truths: Vec<_> = thread::scope(|scope| {
        let share = |nth| cells.iter().skip(nth).step_by(AT_ONCE);
        let scene = &scene;
        let connect = move |nth| share(nth).map(|cell| (cell, scene.connect(cell))).collect();
        let threads: Vec<_> =
            (0..AT_ONCE).map(|nth| scope.spawn(move || -> Vec<_> { connect(nth) })).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<&str, (usize, BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for (cell, truth) in truths {
        let truth = match truth {
            Ok(truth) => truth,
            Err(error) => {
                wrong.push(format!("{cell}: {error:#}"));
                continue;
            }
        };
        wrong.extend(compare(cell, &truth, &scene.report(cell)));
        let (connections, direct, retried) = seen.entry(cell.client.name).or_default();
        *connections += 1;
        let group = truth.group.clone().unwrap_or_default();
        if truth.retried.is_some() { retried } else { direct }.insert(group);
    }
    let all: usize = seen.values().map(|(connections, ..)| connections).sum();
    for (name, (connections, direct, retried)) in &seen {
        println!("{name:<22} {connections:>3}  direct {direct:?}  retried {retried:?}");
        assert!(!direct.is_empty() && !retried.is_empty(), "{name}");
    }
    println!("{} clients, {all} connections in {:?}", seen.len(), began.elapsed());
    assert!(wrong.is_empty(), "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A path as an argument.
fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
