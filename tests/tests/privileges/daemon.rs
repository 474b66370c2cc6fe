//! What a service manager asks of a daemon.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixDatagram,
    },
    path::Path,
    time::Duration,
};

use hopsight_tests::{
    agent::{self, Agent, VERDICT},
    case,
    cgroup::Cgroup,
    http,
    loopback::{Loopback, free_socket},
    nginx::utf8,
    pki::Pki,
    process::{Daemon, called, own_name},
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

/// As after logrotate(8), which moves the file away and sends SIGHUP.
#[test]
fn a_hang_up_begins_the_event_file_anew_and_tells_what_was_changed() {
    let test = "a_hang_up_begins_the_event_file_anew_and_tells_what_was_changed";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let hop = &topology.hops[0];
    let config = topology.dir().join("hopsight.toml");
    fs::write(&config, "[hops]\nmax_hops = 100\n").unwrap();
    let file = config.to_str().unwrap().to_owned();
    for (mode, own) in [("as root", &[][..]), ("another user", &["--user", "65532"])] {
        // The user of a service owns the directory of its log.
        let dir = topology.dir().join(mode);
        fs::create_dir(&dir).unwrap();
        if !own.is_empty() {
            chown(&dir, Some(65_532), Some(65_532)).unwrap();
        }
        fs::write(&config, "[hops]\nmax_hops = 100\n").unwrap();
        let options = [&["--config", &file, "--no-library"], own].concat();
        let agent = Agent::watching(&topology, mode, &options).unwrap();
        hop.request().unwrap();
        agent.wait_finals(hop.dial, 1).unwrap();

        let (events, moved) = (dir.join("events.jsonl"), dir.join("events.jsonl.1"));
        fs::rename(&events, &moved).unwrap();
        fs::write(&config, "[hops]\nmax_hops = 200\n").unwrap();
        agent.daemon.signal(Signal::HUP).unwrap();
        wait_until("the change to be told", VERDICT, || {
            let told = "the configuration file has changed: hops.max_hops; restart hopsight";
            Ok(agent.daemon.log().contains(told).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", agent.daemon.log()));
        let before = fs::read_to_string(&moved).unwrap();
        hop.request().unwrap();
        agent.wait_finals(hop.dial, 1).unwrap_or_else(|error| {
            panic!("{mode}: {error:#}\n{}", agent.daemon.log());
        });
        assert_eq!(fs::read_to_string(&moved).unwrap(), before, "{mode}: nothing more there");

        fs::write(&config, "[hops]\nmax_hops = \"many\"\n").unwrap();
        agent.daemon.signal(Signal::HUP).unwrap();
        wait_until("the mistake to be told", VERDICT, || {
            Ok(agent.daemon.log().contains("cannot be used, and the agent goes on").then_some(()))
        })
        .unwrap();
        assert_eq!(agent.get("/livez").unwrap().status, 200, "{mode}");
    }
}

/// It waits until the agent listens.
#[test]
fn a_hang_up_while_it_starts_ends_nothing() {
    if !requirement::met("a_hang_up_while_it_starts_ends_nothing", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("sent");
    // Of the signals that wait, or are caught, the last bit is SIGHUP's (proc_pid_status(5)).
    let script = format!(
        "agent=$$; (n=0; while [ $n -lt 20 ] && kill -0 $agent; do \
           grep -qE 'Sig(Blk|Cgt):.*[13579bdf]$' /proc/$agent/status && \
             kill -HUP $agent && n=$((n+1)); \
         done; echo $n >{}) & exec \"$@\"",
        sent.display()
    );
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    let launcher = ["sh", "-c", &script, "sh"];
    let options = ["--no-library", "--proxy", "nobody-at-all"];
    let agent = Agent::start_through(&launcher, dir.path(), http, &options).unwrap();
    let times = wait_until("the signals to be sent", VERDICT, || {
        let text = fs::read_to_string(&sent).unwrap_or_default();
        Ok(text.ends_with('\n').then_some(text))
    });
    assert_eq!(times.unwrap().trim(), "20");
    assert_eq!(agent.get("/livez").unwrap().status, 200);
}

#[test]
fn the_start_says_what_is_watched_and_where_the_page_is() {
    if !requirement::met("the_start_says_what_is_watched_and_where_the_page_is", &["sleep"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (Cgroup::create().unwrap(), Cgroup::create().unwrap());
    let name = own_name("watched");
    let sleep = called(dir.path(), "sleep", &name).unwrap();
    let log = dir.path().join("sleep.log");
    let _elsewhere = Daemon::spawn_at(&outside.place(), &sleep, ["60"], &log).unwrap();
    let cgroup = inside.path().to_str().unwrap().to_owned();
    let port = free_socket().unwrap().port();
    let start = |name: &str| {
        let address = format!("localhost:{port}");
        let words = ["run", "--no-library", "--cgroup", &cgroup, "--http", &address];
        let words = [&words[..], &["--proxy", name]].concat();
        let log = dir.path().join("agent.log");
        let agent = Daemon::spawn(agent::binary().unwrap(), words, &log).unwrap();
        let page = format!("the page is at http://127.0.0.1:{port}/");
        wait_until(&page, VERDICT, || Ok(agent.log().contains(&page).then_some(()))).unwrap();
        let text = agent.log();
        drop(agent);
        fs::remove_file(&log).unwrap();
        text
    };
    let version = format!("hopsight {}: ", env!("CARGO_PKG_VERSION"));
    let none = format!("{version}no process of these names runs now, watching for {name}");
    let text = start(&name);
    assert!(text.contains(&none), "{text}");
    let _here = Daemon::spawn_at(&inside.place(), &sleep, ["60"], &log).unwrap();
    let is_there = || {
        let within = fs::read_to_string(inside.path().join("cgroup.procs"))?;
        let comm = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Ok(within.lines().any(|pid| comm(pid).trim() == name).then_some(()))
    };
    wait_until("the process", VERDICT, is_there).unwrap();
    let one = format!("{version}watching {name} 1; in {cgroup} only");
    let text = start(&name);
    assert!(text.contains(&one), "{text}");
}

/// The agent reads them before it becomes another user, and cannot when they are renewed.
#[test]
fn files_that_only_root_can_read_are_told_at_the_start() {
    if !requirement::met("files_that_only_root_can_read_are_told_at_the_start", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    open(dir.path(), 0o755).unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let (certificate, key) = (&pki.server.chain, &pki.server.key);
    open(&dir.path().join("pki"), 0o755).unwrap();
    open(certificate, 0o644).unwrap();
    let block = Loopback::reserve().unwrap();
    let (https, health) = (block.socket(2, 9464), block.socket(2, 9465));
    for (mode, is_told) in [(0o600, true), (0o644, false)] {
        open(key, mode).unwrap();
        let (https, health) = (https.to_string(), health.to_string());
        let words = ["run", "--no-library", "--proxy", "nobody-at-all", "--user", "65532"];
        let served = ["--http", &https, "--health", &health, "--tls-certificate"];
        let files = [utf8(certificate).unwrap(), "--tls-key", utf8(key).unwrap()];
        let log = dir.path().join(format!("agent-{mode:o}.log"));
        let words = [&words[..], &served, &files].concat();
        let agent = Daemon::spawn(agent::binary().unwrap(), words, &log).unwrap();
        let ready = wait_until("the agent to be ready", VERDICT, || {
            let answer = http::get(block.socket(2, 9465), "/readyz").ok();
            let tls = answer.filter(|answer| answer.body.contains("\"tls\":"));
            Ok(tls.map(|answer| answer.body))
        });
        let advice = "let the user that the agent became read the files";
        let text = ready.unwrap() + &agent.log();
        assert_eq!(text.matches(advice).count(), if is_told { 2 } else { 0 }, "{mode:o}: {text}");
    }
}

#[test]
fn the_service_manager_is_told_when_it_serves_and_when_it_stops() {
    if !requirement::met("the_service_manager_is_told_when_it_serves_and_when_it_stops", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let next = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    let variable = format!("NOTIFY_SOCKET={}", socket.display());
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    let launcher = ["env", &variable];
    let options = ["--no-library", "--proxy", "nobody-at-all"];
    let agent = Agent::start_through(&launcher, dir.path(), http, &options).unwrap();
    assert_eq!(next(), "READY=1");
    drop(agent);
    assert_eq!(next(), "STOPPING=1");
}
