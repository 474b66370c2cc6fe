//! Time per run of the kernel programs, by what the agent wants of the socket.
//!
//! The programs are attached to a cgroup of our own, with the client in it and the server outside,
//! so that each run is one of the socket in question.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use hopsight_capture::{LiveOptions, LiveSource, Source as _, StatsHandle};
use hopsight_core::model::{ConnectionId, Event};
use hopsight_system::names::Watched;
use hopsight_tests::{interrupt, loopback::Loopback};
use serde_json::{Value, json};

use crate::{empty_program::EmptyProgram, spread::Spread};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; each measures every kind of socket
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Messages sent and answered per kind of socket and round
    #[arg(long, default_value_t = 20_000)]
    messages: usize,
}

/// Name of the threads whose connections are watched.
const WATCHED: &str = "hs-bench-watch";
/// Bytes of a message, each a segment of its own.
const MESSAGE: usize = 100;
/// Messages of a connection that stays within its byte budget of 64 KiB.
const WITHIN_BUDGET: usize = 600;
/// Mean run time that a packet may take on a socket that is not, or no longer, of interest.
const BUDGET_NS: f64 = 60.0;

/// What the agent wants of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Socket {
    /// Nothing: its process is not watched.
    NotWatched,
    /// Nothing more: its verdict is known.
    Done,
    /// More, but its byte budget is spent.
    BudgetSpent,
    /// Every byte.
    Live,
}

impl Socket {
    const ALL: [Self; 4] = [Self::NotWatched, Self::Done, Self::BudgetSpent, Self::Live];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NotWatched => "not watched",
            Self::Done => "watched, done",
            Self::BudgetSpent => "watched, budget spent",
            Self::Live => "watched, delivered",
        }
    }
}

/// Nanoseconds and runs of each program.
type Runs = BTreeMap<String, (u64, u64)>;

/// Measures it.
///
/// # Errors
/// When the programs cannot be loaded, or there is no cgroup v2 to make a group in.
pub fn run(args: &Args) -> anyhow::Result<Value> {
    let address = Loopback::reserve()?.socket(1, 9000);
    let _echo = Echo::start(address)?;
    let group = Group::enter()?;
    let empty = EmptyProgram::attach(&group.path)?;
    let defaults = LiveOptions::default();
    let mut options = LiveOptions {
        cgroup: Some(group.path.clone()),
        adopt: false,
        program_statistics: true,
        ..defaults
    };
    options.load.watched = Watched::Named(vec![WATCHED.to_owned()]);
    let reader = Reader::start(LiveSource::start(options)?)?;

    let mut rounds: BTreeMap<Socket, Vec<BTreeMap<String, f64>>> = BTreeMap::new();
    for _ in 0..args.rounds {
        for socket in Socket::ALL {
            interrupt::check()?;
            let before = reader.runs(&empty)?;
            let traffic = Traffic { socket, address, messages: args.messages };
            traffic.send(&reader)?;
            let after = reader.runs(&empty)?;
            rounds.entry(socket).or_default().push(per_run(&before, &after));
        }
    }
    println!(
        "nanoseconds per run, median [quartiles] of {} rounds of {} messages of {MESSAGE} bytes \
         each way over loopback",
        args.rounds, args.messages
    );
    println!("SOCKET                  EMPTY PROGRAM    EGRESS           INGRESS");
    let mut reached = true;
    for (socket, rounds) in &rounds {
        let of = |name: &str| {
            Spread::of(rounds.iter().map(|round| round.get(name).copied().unwrap_or(f64::NAN)))
        };
        let [none, egress, ingress] = ["empty", "egress", "ingress"].map(of);
        if *socket < Socket::BudgetSpent {
            reached &= [&egress, &ingress].iter().all(|spread| spread.median() <= BUDGET_NS);
        }
        let text = |spread: &Spread| format!("{spread:.0}");
        println!(
            "{:<23} {:<16} {:<16} {:<16}",
            socket.as_str(),
            text(&none),
            text(&egress),
            text(&ingress)
        );
    }
    let word = if reached { "reached" } else { "not reached" };
    println!(
        "budget of {BUDGET_NS} ns for sockets not watched or done, the empty program's time included: {word}"
    );
    let sizes = sizes(&reader.stats)?;
    Ok(json!({
        "messages": args.messages,
        "rounds_ns_per_run": rounds.iter().map(|(socket, rounds)| json!({ "socket": socket, "rounds": rounds })).collect::<Vec<_>>(),
        "programs": sizes,
    }))
}

fn per_run(before: &Runs, after: &Runs) -> BTreeMap<String, f64> {
    let difference = after.iter().filter_map(|(name, (time, runs))| {
        let (earlier_time, earlier_runs) = before.get(name).copied().unwrap_or_default();
        let runs = runs - earlier_runs;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mean = (time - earlier_time) as f64 / runs as f64;
        (runs > 0).then(|| (name.clone(), mean))
    });
    difference.collect()
}

/// Prints and returns the sizes of all programs.
fn sizes(stats: &StatsHandle) -> anyhow::Result<Value> {
    let ours: BTreeMap<u32, String> =
        stats.read().programs.into_iter().map(|program| (program.id, program.name)).collect();
    println!("\nPROGRAM                        INSTRUCTIONS  MACHINE CODE, BYTES  VERIFIED");
    let mut all = BTreeMap::new();
    for info in aya::programs::loaded_programs() {
        let info = info.context("list the loaded programs")?;
        let Some(name) = ours.get(&info.id()) else { continue };
        let instructions = info.size_translated().unwrap_or_default() / 8;
        let verified = info.verified_instruction_count().unwrap_or_default();
        println!("{name:<30} {instructions:>12} {:>20} {verified:>9}", info.size_jitted());
        all.insert(
            name.clone(),
            json!({
                "instructions": instructions,
                "machine_code_bytes": info.size_jitted(),
                "verified_instructions": verified,
            }),
        );
    }
    Ok(json!(all))
}

/// Messages over one or more connections of a kind.
struct Traffic {
    socket: Socket,
    address: SocketAddr,
    messages: usize,
}

impl Traffic {
    fn send(&self, reader: &Reader) -> anyhow::Result<()> {
        let name = if self.socket == Socket::NotWatched { "hs-bench-other" } else { WATCHED };
        let per_connection =
            if self.socket == Socket::Live { WITHIN_BUDGET } else { self.messages };
        let (address, messages, socket) = (self.address, self.messages, self.socket);
        let connections = reader.connections.clone();
        let client = move || -> anyhow::Result<()> {
            let mut left = messages;
            while left > 0 {
                connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
                let mut stream = TcpStream::connect(address).context("connect")?;
                stream.set_nodelay(true).context("set TCP_NODELAY")?;
                match socket {
                    // A record of handshake type opens the larger budget.
                    Socket::Live => ping(&mut stream, &[22, 3, 1, 0x40, 0], 1)?,
                    Socket::Done => {
                        ping(&mut stream, &[22, 3, 1, 0x40, 0], 1)?;
                        wait_for_done(&connections)?;
                        // The first packet after "done" is still one of a live socket.
                        ping(&mut stream, &[0; MESSAGE], 1)?;
                    }
                    Socket::BudgetSpent => ping(&mut stream, &[b'x'; 4096], 2)?,
                    Socket::NotWatched => {}
                }
                ping(&mut stream, &[0; MESSAGE], per_connection.min(left))?;
                left -= per_connection.min(left);
            }
            Ok(())
        };
        reader.release.store(self.socket == Socket::Done, Relaxed);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(client);
        let result = thread.context("start the client")?.join();
        result.unwrap_or_else(|_| Err(anyhow::anyhow!("the client panicked")))
    }
}

/// Sends it so many times and awaits each answer.
fn ping(stream: &mut TcpStream, message: &[u8], times: usize) -> anyhow::Result<()> {
    let mut answer = vec![0; message.len()];
    for _ in 0..times {
        stream.write_all(message).context("send")?;
        stream.read_exact(&mut answer).context("receive")?;
    }
    Ok(())
}

fn wait_for_done(connections: &Mutex<Vec<ConnectionId>>) -> anyhow::Result<()> {
    for _ in 0..500 {
        if !connections.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(2));
    }
    anyhow::bail!("the opening of a watched connection was not seen")
}

/// Reads the source as the agent does, and says "done" of every connection if it should.
struct Reader {
    stats: StatsHandle,
    /// Connections that were said to be done.
    connections: Arc<Mutex<Vec<ConnectionId>>>,
    release: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn start(mut source: LiveSource) -> anyhow::Result<Self> {
        let reader = Self {
            stats: source.stats(),
            connections: Arc::default(),
            release: Arc::default(),
            stop: Arc::default(),
        };
        let (connections, release, stop) =
            (reader.connections.clone(), reader.release.clone(), reader.stop.clone());
        let work = move || {
            let mut events = Vec::new();
            while !stop.load(Relaxed) && source.poll(Duration::from_millis(20), &mut events).is_ok()
            {
                for event in events.drain(..) {
                    if let Event::Established { connection, .. } = event
                        && release.load(Relaxed)
                    {
                        source.done(connection);
                        connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                    }
                }
            }
        };
        thread::Builder::new().name("reader".to_owned()).spawn(work).context("start a reader")?;
        Ok(reader)
    }

    fn runs(&self, empty: &EmptyProgram) -> anyhow::Result<Runs> {
        let programs = self.stats.read().programs.into_iter();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut runs: Runs =
            programs.map(|p| (p.name, (nanoseconds(p.run_time), p.run_count))).collect();
        runs.insert("empty".to_owned(), empty.runs()?);
        Ok(runs)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Another process of this program that answers.
struct Echo(Child);

impl Echo {
    fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let own = env::current_exe().context("find our own executable")?;
        let mut command = Command::new(own);
        command.arg("echo").arg(address.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the server")?;
        let mut ready = [0];
        let output = child.stdout.as_mut().context("read from the server")?;
        output.read_exact(&mut ready).context("wait for the server")?;
        Ok(Self(child))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The server: answers every byte with itself until standard input ends.
///
/// # Errors
/// When the address is taken.
pub fn echo(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    std::io::stdout().write_all(b"!").context("say that we are ready")?;
    std::io::stdout().flush().context("say that we are ready")?;
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// A cgroup of our own, which we are in until it is dropped.
struct Group {
    path: PathBuf,
    parent: PathBuf,
}

impl Group {
    fn enter() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
        let root = mounts
            .lines()
            .find_map(|line| {
                let mut words = line.split(' ');
                let mount = words.nth(1)?;
                (words.next()? == "cgroup2").then(|| PathBuf::from(mount))
            })
            .context("find a cgroup v2 mount")?;
        let own = fs::read_to_string("/proc/self/cgroup").context("read our cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = root.join(format!("hopsight-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        let group = Self { path, parent: root.join(own) };
        move_to(&group.path)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = move_to(&self.parent) {
            eprintln!("{error:#}");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}

fn move_to(group: &std::path::Path) -> anyhow::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("move into {}", group.display()))
}
