//! The running agent, as the kernel describes it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    path::Path,
    time::Duration,
};

use hopsight_core::model::{Evidence, Security};
use hopsight_system::kernel::running_kernel;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    case,
    cgroup::Cgroup,
    loopback::Loopback,
    process, requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rustix::process::Signal;

/// Capability bits (linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const CHECKPOINT_RESTORE: u64 = 1 << 40;

/// `/proc/PID/task/TID/status` by the thread's name.
fn threads(pid: u32) -> BTreeMap<String, BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // One that is listed may have ended.
    let status = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let lines = text.lines().filter_map(|line| line.split_once(":\t"));
        let status: BTreeMap<_, _> =
            lines.map(|(key, value)| (key.to_owned(), value.replace('\t', " "))).collect();
        Some((status["Name"].clone(), status))
    };
    tasks.filter_map(|task| status(task.ok()?)).collect()
}

#[test]
fn run_time_is_shown_also_by_another_user() {
    if !requirement::met("run_time_is_shown_also_by_another_user", &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let config = topology.dir().join("hopsight.toml");
    fs::write(&config, "[capture]\nprogram_statistics = true\n").unwrap();
    let config = config.to_str().unwrap();
    for (mode, options) in [("as root", &[][..]), ("another user", &["--user", "65532"])] {
        let options = [&["--config", config], options].concat();
        let agent = Agent::watching(&topology, mode, &options).unwrap();
        topology.hops[0].request().unwrap();
        agent.wait_finals(topology.hops[0].dial, 1).unwrap();
        for name in ["hopsight_program_runs_total", "hopsight_program_run_seconds_total"] {
            let value = agent.metric(name, &["program=\"egress\""]).unwrap();
            assert!(value.is_some_and(|value| value > 0.0), "{mode}: {name} is {value:?}");
        }
    }
}

#[test]
fn every_thread_has_what_it_needs_and_no_more() {
    if !requirement::met("every_thread_has_what_it_needs_and_no_more", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    // From this Linux on the probes of a file are one link.
    let has_links = running_kernel() >= Some((6, 6));
    let attach = if has_links { CHECKPOINT_RESTORE } else { SYS_ADMIN };
    for (mode, probe) in [("auto", DAC_READ_SEARCH | SYS_PTRACE | attach), ("off", 0)] {
        let own = Cgroup::of_this_process().unwrap().to_str().unwrap();
        let options = ["--cgroup", own, "--all", "--library", mode, "--user", "65532"];
        let options = [&options[..], &["--state", state.to_str().unwrap()]].concat();
        let agent = Agent::start(&dir.path().join(mode), http, &options).unwrap();
        let threads = wait_until("every thread to be confined", VERDICT, || {
            let all = threads(agent.daemon.pid());
            let is_confined = |status: &BTreeMap<_, String>| status["Seccomp"].trim() == "2";
            Ok(all.values().all(is_confined).then_some(all))
        })
        .unwrap();
        let inspect = DAC_READ_SEARCH | SYS_PTRACE;
        for (thread, kept) in [
            // The first thread is called as the program.
            ("hopsight-agent", 0),
            ("http", 0),
            ("events-file", 0),
            ("names", inspect),
            ("compliance", inspect),
            ("pipeline", inspect),
            ("library", probe),
        ] {
            if thread == "library" && mode == "off" {
                continue;
            }
            let status = threads.get(thread).unwrap_or_else(|| panic!("no {thread}: {threads:?}"));
            for (key, expected) in [
                ("CapPrm", format!("{kept:016x}")),
                ("CapEff", format!("{kept:016x}")),
                ("CapInh", format!("{:016x}", 0)),
                ("CapBnd", format!("{:016x}", 0)),
                ("CapAmb", format!("{:016x}", 0)),
                ("Uid", "65532 65532 65532 65532".to_owned()),
                ("Gid", "65532 65532 65532 65532".to_owned()),
                ("Groups", " ".to_owned()),
                ("NoNewPrivs", "1".to_owned()),
                ("Seccomp", "2".to_owned()),
            ] {
                assert_eq!(status[key].trim(), expected.trim(), "{mode} {thread} {key}");
            }
        }
        let shown = agent.get("/readyz").unwrap().body;
        assert!(
            shown.contains("write: none; serve: none; bounding set empty; seccomp refuses"),
            "{shown}"
        );
        assert!(agent.daemon.log().contains("privileges: user 65532"), "{}", agent.daemon.log());
        // The kernel's counts, which the server reads: a line longer than what classification wants.
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(upstream.local_addr().unwrap()).unwrap();
        stream.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(4000)).as_bytes()).unwrap();
        wait_until("the kernel's counts", VERDICT, || {
            let cut = agent.metric("hopsight_capture_budget_reached_total", &[])?;
            Ok(cut.filter(|cut| *cut > 0.0))
        })
        .unwrap();
        // Metrics of the process come from /proc, which the server still reads.
        assert!(agent.metric("process_cpu_seconds_total", &[]).unwrap().is_some());
        assert!(state.join("state.json").exists() || mode == "auto", "written after the drop");
    }
}

/// As in a container: root without CAP_CHOWN, in the group of the user it switches to (a pod's
/// fsGroup), with a directory of the node.
#[test]
fn the_state_directory_is_shared_with_the_group_where_nothing_can_be_given_away() {
    let name = "the_state_directory_is_shared_with_the_group_where_nothing_can_be_given_away";
    if !requirement::met(name, &["setpriv"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Whoever may not pass through the directory of a test cannot reach what is in it.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let state = dir.path().join("state");
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    let cgroup = Cgroup::create().unwrap();
    let own = ["--state", state.to_str().unwrap(), "--user", "65532", "--no-library"];
    let options = [cgroup.options().unwrap().as_slice(), &own].concat();
    let without = "-chown,-fowner,-dac_override,-fsetid";
    let launcher =
        ["setpriv", "--inh-caps", without, "--bounding-set", without, "--groups", "65532"];
    for start in ["first", "second"] {
        let mut agent = Agent::start_through(&launcher, dir.path(), http, &options).unwrap();
        let shown = agent.get("/readyz").unwrap().body;
        assert!(shown.contains("state.json"), "{start}: {shown}");
        agent.daemon.terminate().unwrap();
        let log = agent.daemon.log();
        let file = fs::metadata(state.join("state.json")).expect(&log);
        assert_eq!((file.uid(), file.mode() & 0o777), (65532, 0o600), "{start}");
    }
    let shared = fs::metadata(&state).unwrap();
    assert_eq!((shared.uid(), shared.gid(), shared.mode() & 0o7777), (0, 65532, 0o770));
}

#[test]
fn a_crash_leaves_no_core_dump() {
    if !requirement::met("a_crash_leaves_no_core_dump", &["prlimit"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let here = format!("--chdir={}", dir.path().display());
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    // The second shows that this machine dumps where nothing forbids it.
    let own = ["--cgroup", Cgroup::of_this_process().unwrap().to_str().unwrap()];
    for (options, dumps) in [(&[][..], false), (&["--keep-privileges"][..], true)] {
        let options = &[&own, options].concat();
        let launcher = ["env", &here, "prlimit", "--core=unlimited:unlimited", "--"];
        let mut agent = Agent::start_through(&launcher, dir.path(), http, options).unwrap();
        agent.daemon.signal(Signal::ABORT).unwrap();
        let status = agent.daemon.wait_exit(Duration::from_mins(1)).unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{options:?}");
        assert_eq!(status.core_dumped(), dumps, "{options:?}");
    }
}

#[test]
fn a_user_that_cannot_be_become_stops_the_agent() {
    if !requirement::met("a_user_that_cannot_be_become_stops_the_agent", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let http = Loopback::reserve().unwrap().socket(2, 9464);
    let launcher = ["setpriv", "--bounding-set=-setuid", "--inh-caps=-all", "--"];
    let error =
        Agent::start_through(&launcher, dir.path(), http, &["--user", "65532"]).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("switch to user 65532 (this needs CAP_SETUID and CAP_SETGID"),
        "{error}"
    );
}

#[test]
fn a_user_with_ambient_capabilities_suffices() {
    // As systemd starts it (agent/deploy/hopsight.service).
    if !requirement::met("a_user_with_ambient_capabilities_suffices", &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["mtls13"]), Network::Ipv4).unwrap();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/deploy/hopsight.service");
    let unit = fs::read_to_string(unit).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let names: Vec<_> =
        line.split(' ').map(|name| format!("+{}", name[4..].to_lowercase())).collect();
    let names = names.join(",");
    let (inheritable, ambient) = (format!("--inh-caps={names}"), format!("--ambient-caps={names}"));
    let bounding = format!("--bounding-set=-all,{names}");
    let launcher = [
        "setpriv",
        "--reuid=65532",
        "--regid=65532",
        "--clear-groups",
        &inheritable,
        &ambient,
        &bounding,
        "--no-new-privs",
        "--",
    ];
    let dir = tempfile::tempdir().unwrap();
    // The event file and the way to the program are this user's.
    for path in [dir.path(), topology.dir()] {
        process::run("chmod", ["777", path.to_str().unwrap()]).unwrap();
    }
    let files = dir.path().join("agent");
    fs::create_dir(&files).unwrap();
    process::run("chmod", ["777", files.to_str().unwrap()]).unwrap();
    let own = topology.cgroup().options().unwrap();
    let agent = Agent::start_through(&launcher, &files, topology.spare_address(), &own).unwrap();
    agent.wait_looked_into().unwrap();
    let hop = topology.hop("mtls13").unwrap();
    hop.request().unwrap();
    let report = agent.wait_finals(hop.dial, 1).unwrap().remove(0);
    assert_eq!(
        (report.verdict.security, report.verdict.evidence),
        (Security::Mtls, Evidence::Library)
    );
    let shown = agent.get("/readyz").unwrap().body;
    assert!(shown.contains("user 65532;") && shown.contains("bounding set empty"), "{shown}");
}
