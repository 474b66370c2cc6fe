//! Little memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use hopsight_tests::{
    agent::{self, Agent},
    case,
    crowd::{self, Part},
    load::Load,
    requirement,
    topology::{Hop, Network, Topology},
};

/// What the agent and its kernel maps (a ring buffer of 16 MiB among them) get.
const LIMIT: u64 = 64 << 20;

/// A cgroup with a memory limit, of either version; removed when dropped.
struct MemoryLimit {
    path: PathBuf,
    is_v1: bool,
}

impl MemoryLimit {
    /// `None` where neither version can be used.
    fn create() -> Option<Self> {
        let name = format!("hopsight-memory-{}", std::process::id());
        for (root, file, is_v1) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", true),
            ("/sys/fs/cgroup", "memory.max", false),
        ] {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let limit = Self { path, is_v1 };
            if fs::write(limit.path.join(file), LIMIT.to_string()).is_ok() {
                return Some(limit);
            }
        }
        None
    }

    /// Processes that the kernel killed for want of memory.
    fn killed(&self) -> u64 {
        let file = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    fn peak(&self) -> u64 {
        let file = if self.is_v1 { "memory.max_usage_in_bytes" } else { "memory.peak" };
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Its processes have ended by now.
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn an_agent_lives_in_64_mib() {
    let test = "an_agent_lives_in_64_mib";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let Some(limit) = MemoryLimit::create() else {
        hopsight_test_support::not_run("memory controller", test);
        return;
    };
    let cases = case::named(&["http", "tls12", "mtls12", "mtls13"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let dir = topology.dir().join("agent");
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join("limited");
    let script = format!(
        "#!/bin/sh\necho $$ > {}/cgroup.procs\nexec {} \"$@\"\n",
        limit.path.display(),
        agent::binary().unwrap().display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let own = ["--proxy", "nginx", "--proxy", crowd::NAME];
    let args = [topology.cgroup().options().unwrap().as_slice(), &own].concat();
    let mut agent = Agent::start_program(&program, &dir, topology.spare_address(), &args).unwrap();

    // Thousands of silent connections, full speed through the proxy, and somebody who looks.
    let address = topology.spare_port(9000).to_string();
    let part = |args: &[String]| Part::start(topology.cgroup(), args).unwrap();
    let mut accepting = part(std::slice::from_ref(&address));
    assert_eq!(accepting.line().unwrap(), "listening");
    let mut silent = part(&[address, "4000".to_owned()]);
    assert_eq!(silent.line().unwrap(), "4000 connections");
    let load = Load::default();
    let hops: Vec<&Hop> = topology.hops.iter().collect();
    load.during(&hops, 1, || {
        for _ in 0..20 {
            // The point: this goes on for six seconds.
            thread::sleep(Duration::from_millis(300));
            assert_eq!(agent.get("/metrics").unwrap().status, 200);
        }
    });
    assert_eq!(load.failures(), Vec::<String>::new());
    agent.daemon.ensure_running().unwrap();
    println!("{} requests, peak {} MiB of {}", load.requests(), limit.peak() >> 20, LIMIT >> 20);
    assert_eq!(limit.killed(), 0);
    for hop in &topology.hops {
        let reports = agent.wait_finals(hop.dial, 1).unwrap();
        assert_eq!(reports[0].verdict.security, hop.case.expected.security, "{}", hop.case.name);
    }
    drop((silent, accepting));
    drop(agent);
}
