//! A certificate authority, nginx as proxy and as upstream, and what the probes say of them.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hopsight_capture::{LibraryEvidence, LiveOptions, LiveSource, LoadOptions, Source as _};
use hopsight_core::model::{Event, LibraryEvent, LibraryObservation};
use hopsight_system::names::Watched;
use hopsight_tests::{cgroup::Cgroup, process::called, reservation};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// How long what must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether live tests can run; says so when they cannot.
pub fn possible(test: &str, programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        hopsight_test_support::not_run(test, "needs root to load kernel programs");
        return false;
    }
    for program in programs {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin")])
            .any(|directory| directory.join(program).exists());
        if !found {
            hopsight_test_support::not_run(test, &format!("needs {program}"));
            return false;
        }
    }
    // Before a test starts anything: what was started in another cgroup is not watched.
    Cgroup::of_this_process().unwrap();
    true
}

/// A port that nobody else uses.
pub fn free_port() -> u16 {
    reservation::port(Ipv4Addr::LOCALHOST.into()).unwrap()
}

/// Waits until somebody listens.
pub fn wait_for_port(port: u16) {
    // An emulated machine is slow.
    let deadline = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes certificates: `NAME.pem` and `NAME.key` in `directory`.
pub struct Authority<'d> {
    directory: &'d Path,
    issuer: Issuer<'static, KeyPair>,
}

impl<'d> Authority<'d> {
    pub fn new(directory: &'d Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, name: &str, hosts: Vec<String>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A running process, ended with the test.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.0.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

const NGINX: &str = "/usr/sbin/nginx";

/// nginx in `directory` under another name, which is what its processes are watched by: other tests
/// run nginx too.
pub fn nginx_called(directory: &Path, name: &str) -> PathBuf {
    called(directory, NGINX, name).unwrap()
}

/// Starts nginx under its own name, which is not watched, with these `http` directives; the prefix
/// is a folder of its own in `directory`.
pub fn nginx(directory: &Path, name: &str, http: &str) -> Running {
    nginx_with(directory, name, http, NGINX.as_ref(), |command| command)
}

/// As [`nginx`], with another program and a last touch at the command.
pub fn nginx_with(
    directory: &Path,
    name: &str,
    http: &str,
    program: &Path,
    touch: impl FnOnce(&mut Command) -> &mut Command,
) -> Running {
    let prefix = directory.join(name);
    fs::create_dir_all(prefix.join("logs")).unwrap();
    let config = prefix.join("nginx.conf");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", prefix.display()))
        .join("\n");
    let mut file = fs::File::create(&config).unwrap();
    write!(
        file,
        "daemon off; worker_processes 1; pid {p}/pid; error_log {p}/error.log info;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; {temporary}\n{http}\n}}\n",
        p = prefix.display()
    )
    .unwrap();
    let mut command = Command::new(program);
    command.arg("-e").arg(prefix.join("error.log")).arg("-p").arg(&prefix).arg("-c").arg(&config);
    Running::start(touch(&mut command))
}

/// One HTTP/1.0 request without TLS; the status line.
pub fn get(port: u16, path: &str) -> String {
    use std::io::Read as _;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

/// A live source that watches processes of this name.
pub fn source(name: &str) -> LiveSource {
    source_with(name, |_| ())
}

/// As [`source`], with changed options.
pub fn source_with(name: &str, change: impl FnOnce(&mut LiveOptions)) -> LiveSource {
    source_of(&[name], change)
}

/// As [`source_with`], for several names.
pub fn source_of(names: &[&str], change: impl FnOnce(&mut LiveOptions)) -> LiveSource {
    let defaults = LiveOptions::default();
    let mut options = LiveOptions {
        cgroup: Some(Cgroup::of_this_process().unwrap().to_owned()),
        load: LoadOptions {
            watched: Watched::Named(names.iter().map(|&name| name.to_owned()).collect()),
            ring_bytes: 8 << 20,
            ..defaults.load
        },
        adopt: false,
        rescan: Duration::from_millis(200),
        ..defaults
    };
    change(&mut options);
    LiveSource::start(options).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Polls until nothing has come for a while; library events of these processes.
pub fn library_events(source: &mut LiveSource, pids: &[u32]) -> Vec<LibraryEvent> {
    let mut events = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        let new = poll_library(source, pids);
        if !new.is_empty() {
            last = Instant::now();
        }
        events.extend(new);
    }
    events
}

/// Polls until `enough` says so, or a while has passed in vain; library events of these processes.
pub fn library_events_until(
    source: &mut LiveSource,
    pids: &[u32],
    enough: impl Fn(&[LibraryEvent]) -> bool,
) -> Vec<LibraryEvent> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    while !enough(&events) && Instant::now() < deadline {
        events.extend(poll_library(source, pids));
    }
    events
}

/// Polls until the source says of this process what `wanted` says.
pub fn wait_evidence(source: &mut LiveSource, pid: u32, wanted: fn(&LibraryEvidence) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let is_there = |source: &LiveSource| {
        let statuses = source.library_statuses().read();
        statuses.iter().any(|status| status.pid == pid && wanted(&status.evidence))
    };
    while !is_there(source) {
        assert!(Instant::now() < deadline, "{pid}: {:?}", source.library_statuses().read());
        source.poll(Duration::from_millis(50), &mut Vec::new()).unwrap();
    }
}

/// What has come of these processes, after a short wait at most.
fn poll_library(source: &mut LiveSource, pids: &[u32]) -> Vec<LibraryEvent> {
    let mut events = Vec::new();
    source.poll(Duration::from_millis(50), &mut events).unwrap();
    let of_library = events.into_iter().filter_map(|event| match event {
        Event::Library(event) => Some(event),
        _ => None,
    });
    of_library.filter(|event| pids.contains(&event.pid)).collect()
}

/// Types of the handshake messages in one transcript update, an empty Certificate as `11e`.
pub fn messages(bytes: &[u8]) -> Vec<String> {
    let mut types = Vec::new();
    let mut rest = bytes;
    while let [kind, a, b, c, tail @ ..] = rest {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((body, after)) = tail.split_at_checked(len) else {
            types.push(format!("{kind}!"));
            break;
        };
        let empty = *kind == 11 && (body == [0, 0, 0, 0] || body == [0, 0, 0]);
        types.push(if empty { "11e".to_owned() } else { kind.to_string() });
        rest = after;
    }
    types
}

/// Events as one line: `[1 2] 8 13 11 verify=0 15 ...`.
pub fn line(events: &[LibraryEvent]) -> String {
    let words = events.iter().map(|event| match &event.observation {
        LibraryObservation::TranscriptUpdate { bytes, .. } => {
            let messages = messages(bytes);
            if messages.len() == 1 {
                messages[0].clone()
            } else {
                format!("[{}]", messages.join(" "))
            }
        }
        // With an exclamation mark where the library itself would have ended the handshake.
        LibraryObservation::VerifyResult { error, enforced } => {
            format!("verify={error}{}", if *enforced { "!" } else { "" })
        }
        LibraryObservation::ApplicationVerifyResult { error } => format!("asked={error}"),
        LibraryObservation::ApplicationCheckedHost { result } => format!("host={result}"),
        LibraryObservation::AlertReceived { description } => format!("alert={description}"),
        LibraryObservation::TlsError { reason } => format!("error={reason}"),
        LibraryObservation::ClientConnectionMade => "made".to_owned(),
        LibraryObservation::VerifyCallback { result } => format!("callback={result}"),
        LibraryObservation::NeverVerified => "never-verified".to_owned(),
        LibraryObservation::TicketReceived { .. } => "ticket".to_owned(),
        LibraryObservation::TicketLost => "ticket-lost".to_owned(),
        LibraryObservation::WatchPaused => "paused".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Count of this name in the source's library counts.
pub fn count(source: &LiveSource, name: &str) -> u64 {
    let counts = source.stats().read().library;
    counts.into_iter().find_map(|(what, n)| (what == name).then_some(n)).unwrap_or_default()
}
