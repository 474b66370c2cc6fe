//! Connections that are older than the agent.
//!
//! A socket of another process is reached with `pidfd_getfd(2)` (Linux 5.6), whatever network
//! namespace it is in, and put under observation through its own descriptor. The duplicate lives
//! for microseconds; should the process close the socket in between, its FIN waits that long.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd, RawFd},
    sync::Arc,
};

use aya::maps::{MapData, SkStorage};
use hopsight_abi::{Bytes16, ConnectionState};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, getpeername, getsockname, ipproto, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::cgroup::Scope;
use hopsight_core::model::{Beginning, ConnectionId, Event, Origin, Process, canonical};
use hopsight_system::{clock::monotonic_now, names::comm_of};

/// `BPF_NOEXIST`: a socket that is watched already was seen from its start.
const NO_EXIST: u64 = 1;

/// The watched sockets.
pub(super) type Connections = SkStorage<MapData, [u8; ConnectionState::SIZE]>;

/// Puts the established outgoing TCP connections of a process under observation and appends an
/// opened and an established event for each. Returns how many there were.
///
/// Outgoing is what has not the local port of one of the process's listening sockets. A process
/// outside `scope` is passed over: the programs would see nothing of its packets.
///
/// # Errors
/// The process cannot be looked into: it ended, or ptrace access to it is missing.
pub(super) fn adopt(
    pid: u32,
    name: &str,
    scope: &Scope,
    connections: &mut Connections,
    out: &mut Vec<Event>,
) -> Result<u64, Errno> {
    let Some(cgroup_id) = scope.cgroup_id(pid) else { return Ok(0) };
    let sockets = Sockets::of(pid)?;
    let listening: HashSet<u16> =
        sockets.iter().filter_map(|socket| listening_port(&socket)).collect();
    let process = Process { pid, name: Arc::from(name), cgroup_id };
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
        if connections.insert(&socket, state.to_bytes(), NO_EXIST).is_err() {
            continue;
        }
        let (connection, at) = (ConnectionId(cookie), monotonic_now());
        let origin = Origin::Process(process.clone());
        let beginning = Beginning::MidStream;
        out.push(Event::Opened { connection, at, origin, destination: remote, beginning });
        out.push(Event::Established { connection, at, local, remote });
        taken += 1;
    }
    Ok(taken)
}

/// The sockets of a process.
struct Sockets {
    process: OwnedFd,
    numbers: Vec<RawFd>,
}

impl Sockets {
    fn of(pid: u32) -> Result<Self, Errno> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let entries = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::SRCH))?;
        let numbers = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let target = fs::read_link(&path).ok()?;
                target.to_str()?.starts_with("socket:").then_some(())?;
                path.file_name()?.to_str()?.parse().ok()
            })
            .collect();
        Ok(Self { process, numbers })
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
