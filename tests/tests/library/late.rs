//! What comes late, and what comes too often.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use hopsight_capture::{LibraryEvidence, LiveSource, Source as _};
use hopsight_core::model::{LibraryEvent, LibraryObservation};
use hopsight_tests::process::own_name;

use crate::support::{
    Authority, count, library_events, library_events_until, possible, source, source_with,
    wait_evidence,
};

/// Takes the name of its first argument; every line that it is given is a statement to execute.
const OBEYING: &str = "
import ctypes, socket, ssl, sys, threading
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print('named', flush=True)
for line in sys.stdin:
    exec(line)
    print('done', flush=True)
";

/// A Python program of this name that does what it is told.
struct Obeying {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Obeying {
    fn start(name: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", OBEYING, name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let to = process.stdin.take();
        let from = BufReader::new(process.stdout.take().unwrap());
        let mut obeying = Self { process, to, from };
        obeying.wait();
        obeying
    }

    /// Executes a statement of one line, to its end.
    fn tell(&mut self, statement: &str) {
        writeln!(self.to.as_mut().unwrap(), "{statement}").unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = String::new();
        assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "it ended");
    }
}

impl Drop for Obeying {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.process.wait();
    }
}

#[test]
fn a_library_that_is_loaded_late_is_found() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
    if !possible("a_library_that_is_loaded_late_is_found", &["python3"])
        || !Path::new(LIBRARY).exists()
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let second = directory.path().join("libssl-of-its-own.so");
    fs::copy(LIBRARY, &second).unwrap();
    let name = own_name("late");
    let mut process = Obeying::start(&name);
    let mut source = source(&name);
    let pid = process.process.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    let places = |source: &LiveSource| -> u64 {
        source.library_statuses().attached().iter().map(|(_, places)| places).sum()
    };
    let first = places(&source);
    // By now it has looked the same for a long time.
    let long = Instant::now() + Duration::from_secs(2);
    while Instant::now() < long {
        source.poll(Duration::from_millis(50), &mut Vec::new()).unwrap();
    }
    assert_eq!(places(&source), first);
    process.tell(&format!("ctypes.CDLL('{}')", second.display()));
    let deadline = Instant::now() + Duration::from_mins(1);
    while places(&source) == first {
        assert!(Instant::now() < deadline, "{first} places");
        source.poll(Duration::from_millis(50), &mut Vec::new()).unwrap();
    }
    assert_eq!(places(&source), 2 * first, "the same library twice");
}

/// To listen as a server whose key is in this directory.
fn serve(directory: &Path) -> String {
    let here = directory.display();
    format!(
        "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.minimum_version = ssl.TLSVersion.TLSv1_3; \
         c.load_cert_chain('{here}/server.pem', '{here}/server.key'); \
         k = ssl._create_unverified_context(); \
         l = socket.create_server(('127.0.0.1', 0)); \
         answer = lambda s: (s.sendall(b'x'), s.recv(1)); \
         serve = lambda: answer(c.wrap_socket(l.accept()[0], server_side=True))"
    )
}

/// To connect to that server, which gives so many tickets.
fn connect(tickets: usize) -> String {
    format!(
        "c.num_tickets = {tickets}; t = threading.Thread(target=serve); t.start(); \
         s = k.wrap_socket(socket.create_connection(l.getsockname())); s.recv(1); s.close(); \
         t.join()"
    )
}

#[test]
fn a_ticket_is_told_to_be_lost_though_the_ring_buffer_is_full() {
    if !possible("a_ticket_is_told_to_be_lost_though_the_ring_buffer_is_full", &["python3"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    Authority::new(directory.path(), "ca").issue("server", vec!["upstream.test".to_owned()]);
    let name = own_name("full");
    let mut process = Obeying::start(&name);
    let mut source = source_with(&name, |options| options.load.ring_bytes = 64 << 10);
    let pid = process.process.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    process.tell(&serve(directory.path()));
    // Nobody reads meanwhile, and what a connection may deliver holds them all.
    process.tell(&connect(200));
    let events = library_events(&mut source, &[pid]);
    assert!(count(&source, "lost") > 150, "they found room");
    let lost = |event: &&LibraryEvent| event.observation == LibraryObservation::TicketLost;
    let untold = events.iter().filter(lost).filter(|event| event.ssl == 0);
    assert_eq!(untold.count(), 1, "of the process, as no record could say of which connection");
    process.tell(&connect(2));
    let events = library_events(&mut source, &[pid]);
    assert_eq!(events.iter().filter(lost).count(), 0, "once");
}

#[test]
fn a_connection_has_a_budget_for_its_tickets() {
    const FLOOD: usize = 2_000;
    if !possible("a_connection_has_a_budget_for_its_tickets", &["python3"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    Authority::new(directory.path(), "ca").issue("server", vec!["upstream.test".to_owned()]);
    let name = own_name("flood");
    let mut process = Obeying::start(&name);
    let mut source = source(&name);
    let pid = process.process.id();
    wait_evidence(&mut source, pid, |evidence| matches!(evidence, LibraryEvidence::Library(_)));
    process.tell(&serve(directory.path()));
    let is_ticket = |event: &LibraryEvent| {
        matches!(event.observation, LibraryObservation::TicketReceived { .. })
    };
    let mut connect = |tickets| process.tell(&connect(tickets));
    connect(FLOOD);
    let events = library_events(&mut source, &[pid]);
    let received = events.iter().filter(|event| is_ticket(event)).count();
    let limited = usize::try_from(count(&source, "ticket_limited")).unwrap();
    assert!(received > 10 && limited > FLOOD / 2, "{received} and {limited}");
    assert_eq!(received + limited, FLOOD, "every ticket is accounted for");
    let losses = events.iter().filter(|event| event.observation == LibraryObservation::TicketLost);
    assert!((1..20).contains(&losses.count()), "it is told that some are lost, and not of each");
    connect(2);
    let events = library_events_until(&mut source, &[pid], |events| {
        events.iter().filter(|event| is_ticket(event)).count() >= 2
    });
    assert_eq!(events.iter().filter(|event| is_ticket(event)).count(), 2, "of another connection");
    assert_eq!(count(&source, "ticket_limited"), limited as u64);
}
