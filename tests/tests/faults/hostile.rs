//! An unprivileged user whose processes are called like a proxy: what they make slow, large or many
//! holds up nobody but themselves.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use hopsight_tests::{
    agent::{Agent, VERDICT},
    case,
    process::Daemon,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use rcgen::{CertificateParams, KeyPair};

/// `nobody`.
const USER: &str = "65534";

/// Calls itself nginx, connects again and again without TLS, and does what its arguments say.
const STRANGER: &str = r#"
import ctypes, socket, sys, time
open("/proc/self/comm", "w").write("nginx")
host, port, *libraries = sys.argv[1:]
held = [ctypes.CDLL(library) for library in libraries]
while True:
    try:
        with socket.create_connection((host, int(port)), timeout=5) as upstream:
            upstream.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while upstream.recv(4096):
                pass
    except OSError:
        pass
    time.sleep(0.2)
"#;

/// Starts a stranger that goes by this title, in the cgroup of the topology's proxies.
fn stranger(topology: &Topology, title: &str, to: SocketAddr, libraries: &[String]) -> Daemon {
    let dir = topology.dir().join("stranger");
    let (script, log) = (dir.join("stranger.py"), topology.dir().join("stranger.log"));
    fs::write(&script, STRANGER).unwrap();
    let own = ["--reuid", USER, "--clear-groups", "bash", "-c", "exec -a \"$0\" python3 \"$@\""];
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let script = script.to_str().unwrap();
    let args = own.into_iter().chain([title, script, &host, &port]);
    let args = args.chain(libraries.iter().map(String::as_str));
    Daemon::spawn_at(&topology.cgroup().place(), "setpriv", args, &log).unwrap()
}

/// A folder that everybody may read.
fn shared(topology: &Topology) -> std::path::PathBuf {
    let dir = topology.dir().join("stranger");
    fs::create_dir_all(&dir).unwrap();
    let mut above = Some(dir.as_path());
    while let Some(path) =
        above.filter(|path| *path != Path::new("/tmp") && path.parent().is_some())
    {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o055)).unwrap();
        above = path.parent();
    }
    dir
}

/// A configuration whose every route names another bundle of a thousand CAs of one name.
fn slow_configuration(dir: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
    fs::write(dir.join("own.pem"), &certificate).unwrap();
    fs::write(dir.join("own.key"), key.serialize_pem()).unwrap();
    fs::write(dir.join("bundle.pem"), certificate.repeat(990)).unwrap();
    let mut locations = String::new();
    for number in 0..2_000 {
        symlink("bundle.pem", dir.join(format!("ca-{number}.pem"))).unwrap();
        locations += &format!(
            "location /{number} {{ proxy_pass https://10.9.{}.{}; \
             proxy_ssl_trusted_certificate ca-{number}.pem; }}\n",
            number / 250,
            number % 250
        );
    }
    let path = dir.join("slow.conf");
    let text = format!(
        "http {{ proxy_ssl_certificate own.pem; proxy_ssl_certificate_key own.key;\n\
         server {{ {locations} }} }}"
    );
    fs::write(&path, text).unwrap();
    format!("nginx: master process nginx -c {}", path.display())
}

#[test]
fn a_slow_configuration_holds_up_nobody_else() {
    let test = "a_slow_configuration_holds_up_nobody_else";
    if !requirement::met(test, &["nginx", "python3", "bash"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http", "mtls12"]), Network::Ipv4).unwrap();
    let mut agent = Agent::watching(&topology, "agent", &["--no-library"]).unwrap();
    let title = slow_configuration(&shared(&topology));
    let strangers_upstream = topology.hop("mtls12").unwrap().listen;
    let _stranger = stranger(&topology, &title, strangers_upstream, &[]);
    let is_being_read = || -> anyhow::Result<bool> {
        Ok(agent.get("/readyz")?.body.contains("have been read for"))
    };
    wait_until("the stranger's files to be read for long", VERDICT, || {
        Ok(is_being_read()?.then_some(()))
    })
    .unwrap();

    // Meanwhile an honest hop is seen, and so is the stranger's own.
    let honest = topology.hop("http").unwrap();
    honest.request().unwrap();
    let plaintext = |proxy: &str, upstream: SocketAddr| -> anyhow::Result<Option<()>> {
        let hops = agent.hops()?.hops;
        let label = upstream.to_string();
        let mut found = hops.iter().filter(|hop| *hop.proxy == *proxy && *hop.upstream == *label);
        Ok(found.any(|hop| hop.state.security.as_str() == "plaintext").then_some(()))
    };
    let theirs = format!("nginx@user-{USER}");
    for (proxy, upstream) in [("nginx", honest.dial), (theirs.as_str(), strangers_upstream)] {
        let what = format!("the plaintext hop of {proxy} to {upstream}");
        wait_until(&what, VERDICT, || plaintext(proxy, upstream)).unwrap();
    }
    assert!(is_being_read().unwrap(), "the point: they are not waited for");
    let waiting = agent.metric("hopsight_report_waiting_seconds", &[]).unwrap();
    assert!(waiting.is_some_and(|seconds| seconds < 10.0), "{waiting:?}");
    assert_eq!(agent.get("/livez").unwrap().status, 200);
    assert!(agent.daemon.terminate().unwrap().success(), "{}", agent.daemon.log());
}

#[test]
fn copies_of_a_library_take_no_more_than_their_share() {
    const COPIES: usize = 60;
    let test = "copies_of_a_library_take_no_more_than_their_share";
    let libssl =
        ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/aarch64-linux-gnu/libssl.so.3"];
    let libssl = libssl.into_iter().find(|path| Path::new(path).exists());
    if !requirement::met(test, &["nginx", "python3", "bash"]) {
        return;
    }
    let Some(libssl) = libssl else {
        hopsight_test_support::not_run(test, "needs a shared libssl of OpenSSL 3");
        return;
    };
    let topology = Topology::start(&case::named(&["mtls13"]), Network::Ipv4).unwrap();
    let dir = shared(&topology);
    let copies: Vec<String> = (0..COPIES)
        .map(|number| {
            let copy = dir.join(format!("libssl-{number}.so"));
            fs::copy(libssl, &copy).unwrap();
            copy.to_str().unwrap().to_owned()
        })
        .collect();
    let hop = topology.hop("mtls13").unwrap();
    let _stranger = stranger(&topology, "nginx", hop.listen, &copies);
    let mut agent = Agent::watching_clients(&topology).unwrap();
    wait_until("the stranger's share to be used up", VERDICT, || {
        let beyond = agent.metric("hopsight_library_processes", &["beyond_quota"])?;
        Ok(beyond.filter(|processes| *processes > 0.0))
    })
    .unwrap();
    let probes = agent.metric("hopsight_probes_attached", &["\"openssl\"", "\"library\""]).unwrap();
    // Sixteen files of the stranger's, and what nginx's own libssl and the program ask for.
    assert!(probes.is_some_and(|probes| probes <= 16.0 * 8.0 + 32.0), "{probes:?}");
    hop.request().unwrap();
    // The stranger's reports are plaintext.
    let evidence = wait_until("nginx's report", VERDICT, || {
        let mut reports = agent.finals(hop.dial)?.into_iter();
        let mutual = reports.find(|report| report.verdict.security.as_str() == "mtls");
        Ok(mutual.map(|report| report.verdict.evidence))
    });
    assert_eq!(evidence.unwrap().as_str(), "library");
    // The kernel takes its time to remove a probe, the more so on a busy machine.
    agent.daemon.signal(rustix::process::Signal::TERM).unwrap();
    agent.daemon.wait_exit(VERDICT).unwrap();
}

/// How long an agent may take to end: five seconds, and what a machine with much else to do adds.
const END: Duration = Duration::from_secs(15);

#[test]
fn an_output_that_nobody_reads_does_not_keep_the_agent() {
    let test = "an_output_that_nobody_reads_does_not_keep_the_agent";
    if !requirement::met(test, &["nginx", "python3", "bash"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let dir = topology.dir().join("agent");
    fs::create_dir_all(&dir).unwrap();
    // The agent's events go into a FIFO that somebody has open and never reads.
    let fifo = dir.join("events.jsonl");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
    let mut agent = Agent::watching(&topology, "agent", &["--no-library"]).unwrap();
    let hop = topology.hop("http").unwrap();
    wait_until("more events than the pipe has room for", VERDICT, || {
        hop.request()?;
        let seen = agent.metric("hopsight_upstream_connections_total", &["plaintext"])?;
        Ok(seen.filter(|connections| *connections >= 30.0))
    })
    .unwrap();
    agent.daemon.signal(rustix::process::Signal::TERM).unwrap();
    let status = agent.daemon.wait_exit(END).unwrap();
    assert!(!status.success(), "it says that something was not written");
}
