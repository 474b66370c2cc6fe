//! Starting and stopping: nothing is left behind, and a refusal says what to do.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::FileExt as _,
    process::{Command, Output, Stdio},
};

use hopsight_tests::{
    agent::{self, Agent, VERDICT},
    case,
    loopback::Loopback,
    process::Daemon,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

#[test]
fn nothing_stays_in_the_kernel() {
    if !requirement::met("nothing_stays_in_the_kernel", &[]) {
        return;
    }
    let topology = Topology::start(&[], Network::Ipv4).unwrap();
    // A panic aborts a release build.
    for signal in [Signal::TERM, Signal::INT, Signal::KILL, Signal::ABORT] {
        let mut agent = Agent::watching_clients(&topology).unwrap();
        let programs = programs_held_by(agent.daemon.pid());
        // connect4, connect6, sock_ops, egress, ingress.
        assert!(programs.len() >= 5, "{programs:?}");
        assert!(programs.is_subset(&loaded_programs()), "{programs:?}");
        agent.daemon.signal(signal).unwrap();
        let status = agent.daemon.wait_exit(VERDICT).unwrap();
        let ends_itself = matches!(signal, Signal::TERM | Signal::INT);
        assert_eq!(status.success(), ends_itself, "{status}: {}", agent.daemon.log());
        wait_until("the programs to be unloaded", VERDICT, || {
            Ok(programs.is_disjoint(&loaded_programs()).then_some(()))
        })
        .unwrap();
    }
}

/// Bytes of the code of libssl in a process that are others than those in the file.
fn breakpoints(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut others = 0;
    for line in maps.lines().filter(|line| line.contains("r-xp") && line.contains("/libssl.so")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (begin, end) = words[0].split_once('-').unwrap();
        let (begin, end, offset) = (number(begin), number(end), number(words[2]));
        let mut inside = vec![0; usize::try_from(end - begin).unwrap()];
        memory.read_exact_at(&mut inside, begin).unwrap();
        let file = fs::read(words[5]).unwrap();
        let file = &file[usize::try_from(offset).unwrap()..];
        others += inside.iter().zip(file).filter(|(inside, file)| inside != file).count();
    }
    others
}

/// A client of this upstream with a copy of libssl that no other agent of the machine probes. It
/// stays as long as its input is open.
fn client_with_library_of_its_own(topology: &Topology, upstream: SocketAddr) -> Daemon {
    let system = format!("/usr/lib/{}-linux-gnu/libssl.so.3", std::env::consts::ARCH);
    let directory = topology.dir().join("library");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(system, directory.join("libssl.so.3")).unwrap();
    let library = format!("LD_LIBRARY_PATH={}", directory.display());
    let dial = upstream.to_string();
    let args = [&library, "openssl", "s_client", "-connect", &dial];
    let log = topology.dir().join("client.log");
    Daemon::spawn_reading(Stdio::piped(), &topology.cgroup().place(), "env", args, &log).unwrap()
}

/// A thread that is ended while it removes a probe leaves the breakpoint behind, which would go on
/// costing the proxy a trap.
#[test]
fn nothing_stays_in_a_library() {
    if !requirement::met("nothing_stays_in_a_library", &["nginx", "openssl"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["tls13"]), Network::Ipv4).unwrap();
    for signal in [Signal::TERM, Signal::KILL] {
        let mut agent = Agent::watching(&topology, "agent", &["--proxy", "openssl"]).unwrap();
        let client = client_with_library_of_its_own(&topology, topology.hops[0].dial);
        wait_until("the library to be probed", VERDICT, || {
            Ok((breakpoints(client.pid()) > 0).then_some(()))
        })
        .unwrap();
        agent.daemon.signal(signal).unwrap();
        agent.daemon.wait_exit(VERDICT).unwrap();
        wait_until("the library to be as it was", VERDICT, || {
            Ok((breakpoints(client.pid()) == 0).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{signal:?}: {error:#}: {}", breakpoints(client.pid())));
    }
}

#[test]
fn two_agents_see_the_same() {
    if !requirement::met("two_agents_see_the_same", &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["mtls12", "http"]), Network::Ipv4).unwrap();
    let first = Agent::watching_clients(&topology).unwrap();
    let other = Loopback::reserve().unwrap().socket(1, 9464);
    let options = topology.cgroup().options().unwrap();
    let second = Agent::start(&topology.dir().join("second"), other, &options).unwrap();
    for hop in &topology.hops {
        hop.request().unwrap();
        for agent in [&first, &second] {
            let reports = agent.wait_finals(hop.dial, 1).unwrap();
            assert_eq!(reports.len(), 1, "{}: {reports:#?}", hop.case.name);
            assert_eq!(reports[0].verdict.security, hop.case.expected.security);
        }
    }
}

#[test]
fn refusals_say_what_to_do() {
    if !requirement::met("refusals_say_what_to_do", &["timeout", "unshare"]) {
        return;
    }
    let address = Loopback::reserve().unwrap().socket(1, 9464);
    let _taken = TcpListener::bind(address).unwrap();
    let taken = address.to_string();
    let free = ["--http", "127.0.0.1:0"];
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bad.toml");
    fs::write(&config, "no_such_key = 1\n").unwrap();
    let config = config.to_str().unwrap();
    let without_capabilities = ["setpriv", "--bounding-set", "-all"];
    let without_cgroup2 = ["unshare", "--mount", "sh", "-c", WITHOUT_CGROUP2, "sh"];
    for (name, wrapper, args, words) in [
        ("taken port", &[][..], &["--http", &taken][..], [taken.as_str(), "--http"]),
        ("no such cgroup", &[], &["--cgroup", "/nonexistent"], ["/nonexistent", "cgroup"]),
        ("bad key", &[], &["--config", config], ["no_such_key", "bad.toml"]),
        ("no address", &[], &["--http", "nonsense"], ["nonsense", "--http"]),
        ("no capabilities", &without_capabilities, &free, ["CAP_BPF", "root"]),
        ("no cgroup v2", &without_cgroup2, &free, ["cgroup v2", "mount"]),
    ] {
        let output = hopsight(wrapper, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}: it runs");
        assert!(words.iter().all(|word| errors.contains(word)), "{name}: {errors}");
        assert!(!errors.contains("panicked"), "{name}: {errors}");
    }
}

/// Runs the agent, by way of `wrapper`, where it must end by itself.
fn hopsight(wrapper: &[&str], args: &[&str]) -> Output {
    // timeout(1) ends it where it does not.
    let mut command = Command::new("timeout");
    command.arg("60").args(wrapper).arg(agent::binary().unwrap()).arg("run").args(args);
    command.output().unwrap()
}

/// Takes away every mount of the cgroup v2 hierarchy, of which a machine may have several, and runs what
/// follows.
const WITHOUT_CGROUP2: &str = r#"
    place() { awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts; }
    while at=$(place) && [ -n "$at" ]; do umount -l "$at" || exit 1; done
    exec "$@"
"#;

/// Ids of the BPF programs that the process has open.
fn programs_held_by(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect()
}

fn loaded_programs() -> BTreeSet<u32> {
    aya::programs::loaded_programs()
        .filter_map(|program| program.ok().map(|info| info.id()))
        .collect()
}
