//! What a service manager asks of a daemon.

use std::{
    fs,
    os::unix::{fs::chown, net::UnixDatagram},
    time::Duration,
};

use hopsight_tests::{
    agent::{Agent, VERDICT},
    case,
    loopback::Loopback,
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
