//! Connections that are older than the agent.
//!
//! A socket of another process is reached with `pidfd_getfd(2)` (Linux 5.6), whatever network
//! namespace it is in, and put under observation through its own descriptor. The duplicate lives
//! for microseconds; should the process close the socket in between, its FIN waits that long.
//!
//! A process may have any number of descriptors, and the kernel waits for whoever holds a socket's
//! lock. So this is done on threads that nobody waits for ([`hopsight_system::readers`]).

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, SkStorage};
use hopsight_abi::{Bytes16, ConnectionState};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, getpeername, getsockname, ipproto, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use tracing::{debug, warn};

use super::{cgroup::Scope, stats::Received};
use hopsight_core::model::{Beginning, ConnectionId, Event, Origin, Process, canonical};
use hopsight_system::{
    clock::monotonic_now,
    foreign::Lane,
    heart::Heart,
    names::comm_of,
    readers::{Answer, Readers},
};

/// `BPF_NOEXIST`: a socket that is watched already was seen from its start.
const NO_EXIST: u64 = 1;

/// Threads that adopt; each user's processes are at one of them at a time.
const THREADS: usize = 4;

/// Most descriptors of a process that are looked at.
const MAX_DESCRIPTORS: usize = 65_536;

/// The watched sockets.
pub(super) type Connections = SkStorage<MapData, [u8; ConnectionState::SIZE]>;

/// Adopts the connections of processes.
pub(super) struct Adoption {
    readers: Readers,
    shared: Arc<Shared>,
    /// What is still being done.
    begun: Vec<Answer<()>>,
}

struct Shared {
    scope: Scope,
    received: Arc<Received>,
    adopted: Mutex<Adopted>,
}

/// A connection gets into both at once: whoever takes the events after it has read the kernel's
/// records has the opening of every connection that these are about.
struct Adopted {
    connections: Connections,
    events: Vec<Event>,
}

impl Adoption {
    /// Starts the threads. A process outside `scope` is passed over: the programs would see nothing
    /// of its packets.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(
        scope: Scope,
        connections: Connections,
        received: Arc<Received>,
    ) -> io::Result<Self> {
        let adopted = Mutex::new(Adopted { connections, events: Vec::new() });
        Ok(Self {
            readers: Readers::start("adoption", THREADS)?,
            shared: Arc::new(Shared { scope, received, adopted }),
            begun: Vec::new(),
        })
    }

    /// Whether each thread moves.
    pub(super) fn hearts(&self) -> &[Heart] {
        self.readers.hearts()
    }

    /// Has the established outgoing TCP connections of a process put under observation; an opened and
    /// an established event for each will be in [`Self::take`].
    pub(super) fn begin(&mut self, pid: u32, name: &str) {
        self.begun.retain(|answer| answer.poll().is_pending());
        let (shared, name) = (Arc::clone(&self.shared), Arc::<str>::from(name));
        let whose = Lane::of_process(pid).ok();
        let work = move || shared.adopt(pid, &name);
        self.begun.extend(whose.and_then(|whose| self.readers.ask(whose, work)));
    }

    /// The events of what was adopted since the last call. To be asked after the ring buffer was
    /// read, and to go before what was in it.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.shared.adopted().events)
    }

    /// Waits until all that was begun is done, but no longer than this.
    pub(super) fn settle(&mut self, longest: Duration) {
        let begin = Instant::now();
        while !self.begun.is_empty() && begin.elapsed() < longest {
            self.begun.retain(|answer| matches!(answer.poll(), Poll::Pending));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Shared {
    fn adopted(&self) -> MutexGuard<'_, Adopted> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, pid: u32, name: &Arc<str>) {
        match self.adopt_all(pid, name) {
            Ok(taken) => {
                self.received.adopted(taken);
                debug!(pid, name = &**name, taken, "adopted older connections");
            }
            Err(Errno::SRCH | Errno::NOENT) => {}
            Err(error) => warn!(
                pid, name = &**name, %error,
                "cannot adopt the older connections of this process (needs CAP_SYS_PTRACE, and \
                 CAP_DAC_READ_SEARCH as another user than root)"
            ),
        }
    }

    /// Returns how many there were. Outgoing is what has not the local port of one of the process's
    /// listening sockets.
    fn adopt_all(&self, pid: u32, name: &Arc<str>) -> Result<u64, Errno> {
        let Some(cgroup_id) = self.scope.cgroup_id(pid) else { return Ok(0) };
        let sockets = Sockets::of(pid)?;
        let listening: HashSet<u16> =
            sockets.iter().filter_map(|socket| listening_port(&socket)).collect();
        let process = Process { pid, name: Arc::clone(name), cgroup_id };
        let mut taken = 0;
        for socket in sockets.iter() {
            let Some((local, remote)) = connected(&socket) else { continue };
            if listening.contains(&local.port()) {
                continue;
            }
            let Ok(cookie) = sockopt::socket_cookie(&socket) else { continue };
            let state = ConnectionState {
                cookie,
                cgroup_id: process.cgroup_id,
                tgid: pid,
                tid: pid,
                comm: Bytes16::new(comm_of(name)),
                mid_stream: 1,
                ..ConnectionState::default()
            };
            let mut adopted = self.adopted();
            if adopted.connections.insert(&socket, state.to_bytes(), NO_EXIST).is_err() {
                continue;
            }
            let (connection, at) = (ConnectionId(cookie), monotonic_now());
            let origin = Origin::Process(process.clone());
            let beginning = Beginning::MidStream;
            adopted.events.extend([
                Event::Opened { connection, at, origin, destination: remote, beginning },
                Event::Established { connection, at, local, remote },
            ]);
            taken += 1;
        }
        Ok(taken)
    }
}

/// The sockets of a process.
struct Sockets {
    process: OwnedFd,
    numbers: Vec<RawFd>,
}

impl Sockets {
    /// One descriptor of each: there may be thousands of one socket.
    fn of(pid: u32) -> Result<Self, Errno> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let entries = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::SRCH))?;
        let sockets = entries.take(MAX_DESCRIPTORS).filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?;
            let inode: u64 =
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
            Some((inode, path.file_name()?.to_str()?.parse().ok()?))
        });
        let numbers: HashMap<u64, RawFd> = sockets.collect();
        Ok(Self { process, numbers: numbers.into_values().collect() })
    }

    /// A duplicate of each, one at a time. Numbers that the process reuses meanwhile show another
    /// socket, which is looked at in its own right.
    fn iter(&self) -> impl Iterator<Item = OwnedFd> {
        self.numbers
            .iter()
            .filter_map(|number| pidfd_getfd(&self.process, *number, PidfdGetfdFlags::empty()).ok())
    }
}

fn is_tcp(socket: impl AsFd) -> bool {
    let socket = socket.as_fd();
    matches!(sockopt::socket_domain(socket), Ok(AddressFamily::INET | AddressFamily::INET6))
        && sockopt::socket_type(socket) == Ok(SocketType::STREAM)
        && sockopt::socket_protocol(socket) == Ok(Some(ipproto::TCP))
}

fn listening_port(socket: &OwnedFd) -> Option<u16> {
    (is_tcp(socket) && sockopt::socket_acceptconn(socket) == Ok(true)).then_some(())?;
    let local = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some(local.port())
}

/// Both ends of a TCP connection; `None` for any other socket.
fn connected(socket: &OwnedFd) -> Option<(SocketAddr, SocketAddr)> {
    is_tcp(socket).then_some(())?;
    let remote = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
    let local = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some((canonical(local), canonical(remote)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_is_looked_at_once_however_many_descriptors_it_has() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let before = Sockets::of(std::process::id()).unwrap().numbers.len();
        let copies: Vec<_> = (0..100).map(|_| stream.try_clone().unwrap()).collect();
        let after = Sockets::of(std::process::id()).unwrap().numbers.len();
        // Other tests of this process open and close sockets meanwhile.
        assert!(after < before + copies.len() / 2, "{before} sockets, then {after}");
    }
}
