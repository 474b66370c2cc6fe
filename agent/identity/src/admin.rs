//! Asks the admin interface of a watched proxy, which belongs to a stranger: bounded in bytes and time,
//! and only where the process itself listens.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use hopsight_system::foreign;

/// Largest answer that is read.
const MAX_ANSWER: usize = 32 << 20;
/// How long an answer may take in all, and a step of it.
const MAX_TIME: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_secs(1);
/// What is read of a process's table of sockets.
const MAX_TABLE: u64 = 16 << 20;
/// A socket that listens (`TCP_LISTEN` of the kernel's `net/tcp_states.h`).
const LISTENS: &str = "0A";

/// Where an admin interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It listens on this address.
    Tcp(SocketAddr),
    /// It listens on this socket in the file system, as a path in the process's root.
    Socket(PathBuf),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Socket(path) => write!(f, "unix:{}:", path.display()),
        }
    }
}

/// Gets `path` of the admin interface that process `pid` has at `door`.
///
/// # Errors
/// When the process does not listen there, or in a network namespace that is not ours, or the answer is
/// none, is too long or takes too long.
pub fn ask(pid: u32, door: &Door, path: &str) -> anyhow::Result<Vec<u8>> {
    match door {
        Door::Tcp(address) => {
            let address = reachable(*address)?;
            ensure!(
                is_in_our_network(pid)?,
                "it listens in a network namespace of its own: give it a socket in the file system"
            );
            ensure!(listens(pid, address)?, "its user does not listen there");
            let stream = TcpStream::connect_timeout(&address, STEP).context("connect")?;
            exchange_timed(stream, &address.to_string(), path)
        }
        Door::Socket(socket) => {
            ensure!(!socket.starts_with("@"), "abstract sockets are not asked");
            let root =
                fs::File::open(format!("/proc/{pid}/root")).context("open its root directory")?;
            let name = foreign::name(root.as_fd(), socket)
                .with_context(|| format!("find {}", socket.display()))?;
            // A link of /proc to what was found, whatever is at its path by now.
            let link = format!("/proc/self/fd/{}", name.as_raw_fd());
            let owner = fs::metadata(&link).context("look at its socket")?.uid();
            ensure!(owner == user(pid)?, "its socket belongs to somebody else");
            let stream = UnixStream::connect(&link).context("connect")?;
            stream.set_read_timeout(Some(STEP)).context("set the timeout")?;
            stream.set_write_timeout(Some(STEP)).context("set the timeout")?;
            exchange(stream, "127.0.0.1", path)
        }
    }
}

/// Whether somebody can be asked at `door`: by TCP only where the process listens, in our network
/// namespace.
#[must_use]
pub fn is_open(pid: u32, door: &Door) -> bool {
    match door {
        Door::Tcp(address) => {
            let is_ours = is_in_our_network(pid).unwrap_or(false);
            is_ours && reachable(*address).and_then(|to| listens(pid, to)).unwrap_or(false)
        }
        Door::Socket(_) => true,
    }
}

/// Whether a process is in the agent's network namespace, so that it can be asked by TCP.
///
/// # Errors
/// When that cannot be looked at.
pub fn is_in_our_network(pid: u32) -> anyhow::Result<bool> {
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    let theirs = network(&pid.to_string()).context("look at its network namespace")?;
    Ok(theirs == network("self").context("look at our network namespace")?)
}

/// Gets `path` of an admin interface that somebody names, at `host` with its port.
///
/// # Errors
/// When nobody answers there, or the answer is none, is too long or takes too long.
pub fn get(host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut addresses = host.to_socket_addrs().context("resolve the address")?;
    let address = addresses.next().context("resolve the address: it has none")?;
    let stream = TcpStream::connect_timeout(&address, STEP).context("connect")?;
    exchange_timed(stream, host, path)
}

fn exchange_timed(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    stream.set_read_timeout(Some(STEP)).context("set the timeout")?;
    stream.set_write_timeout(Some(STEP)).context("set the timeout")?;
    exchange(stream, host, path)
}

/// The address to connect to: this machine only, for whoever starts a process chooses it.
fn reachable(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    ensure!(ip.is_loopback() && address.port() != 0, "only this machine's own addresses are asked");
    Ok(SocketAddr::new(ip, address.port()))
}

fn user(pid: u32) -> anyhow::Result<u32> {
    let metadata = fs::metadata(format!("/proc/{pid}")).context("see whose process it is")?;
    Ok(metadata.uid())
}

/// Whether a socket of the process's user listens on this port.
fn listens(pid: u32, address: SocketAddr) -> anyhow::Result<bool> {
    let user = user(pid)?;
    for table in ["tcp", "tcp6"] {
        let path = PathBuf::from(format!("/proc/{pid}/net/{table}"));
        let Ok(content) = foreign::beginning(&path, MAX_TABLE) else { continue };
        let content = String::from_utf8_lossy(&content);
        if content.lines().skip(1).any(|line| is_listener(line, address.port(), user)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a line of `proc_net(5)`'s `tcp` is a socket of this user's that listens on this port.
fn is_listener(line: &str, port: u16, user: u32) -> bool {
    let fields: Vec<_> = line.split_ascii_whitespace().take(8).collect();
    let [_, local, _, state, _, _, _, owner] = fields.as_slice() else { return false };
    let local_port =
        local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    *state == LISTENS && local_port == Some(port) && owner.parse() == Ok(user)
}

/// Caddy answers only under the name that it listens at.
fn exchange(mut stream: impl Read + Write, host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("send the question")?;
    let until = Instant::now() + MAX_TIME;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        ensure!(Instant::now() < until, "the answer takes longer than {} s", MAX_TIME.as_secs());
        let length = match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What a timeout of a socket ends with (`SO_RCVTIMEO` of socket(7)).
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                bail!("it has said nothing for {} s", STEP.as_secs());
            }
            Err(error) => return Err(error).context("read the answer"),
        };
        answer.extend_from_slice(&piece[..length]);
        ensure!(answer.len() <= MAX_ANSWER, "the answer is longer than {} MiB", MAX_ANSWER >> 20);
    }
    body(&answer)
}

/// The body of an answer with status 200 (RFC 9112).
fn body(answer: &[u8]) -> anyhow::Result<Vec<u8>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.context("read the answer: it is not that of an HTTP server")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        bail!("it answered {}", status.chars().take(3).collect::<String>());
    }
    let is_chunked = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("transfer-encoding:").is_some_and(|value| value.trim() == "chunked")
    });
    let rest = &answer[end + 4..];
    if is_chunked {
        chunks(rest).context("read the answer: its chunks are broken")
    } else {
        Ok(rest.to_vec())
    }
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(rest.len());
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A server that answers one question with `answer`, and then says no more until the other goes.
    fn server(answer: Vec<u8>, closes: bool) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&answer);
            if !closes {
                let _ = stream.read(&mut [0; 1]);
            }
        });
        Door::Tcp(address)
    }

    #[test]
    fn answers() {
        let us = std::process::id();
        for (name, answer, closes, expected) in [
            ("plain", b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec(), true, Ok("{}")),
            (
                "in chunks",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n3\r\na\"}\r\n0\r\n\r\n".to_vec(),
                true,
                Ok("{\"a\"}"),
            ),
            ("an error", b"HTTP/1.1 503 No\r\n\r\n".to_vec(), true, Err("it answered 503")),
            ("no HTTP", b"hello".to_vec(), true, Err("not that of an HTTP server")),
            (
                "broken chunks",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
                true,
                Err("chunks are broken"),
            ),
            ("one that hangs", b"HTTP/1.1 200 OK\r\n\r\n{".to_vec(), false, Err("said nothing for 1 s")),
            ("one that never ends", vec![b'a'; 40 << 20], true, Err("longer than 32 MiB")),
        ] {
            let found = ask(us, &server(answer, closes), "/config_dump");
            match (found, expected) {
                (Ok(body), Ok(expected)) => assert_eq!(body, expected.as_bytes(), "{name}"),
                (Err(error), Err(expected)) => {
                    assert!(format!("{error:#}").contains(expected), "{name}: {error:#}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn nobody_else_is_asked() {
        let us = std::process::id();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (door, expected) in [
            (Door::Tcp("192.0.2.1:9901".parse().unwrap()), "only this machine's own"),
            (Door::Tcp("127.0.0.1:0".parse().unwrap()), "only this machine's own"),
            (Door::Tcp(free), "does not listen"),
            (Door::Socket("/no/such.sock".into()), "find /no/such.sock"),
            (Door::Socket("@abstract".into()), "abstract"),
        ] {
            let error = ask(us, &door, "/").unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{door}: {error:#}");
        }
        let line = "   0: 0100007F:26AD 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101 0 1 1";
        for (port, user, expected) in [(0x26ad, 101, true), (0x26ad, 0, false), (80, 101, false)] {
            assert_eq!(is_listener(line, port, user), expected, "{port} {user}");
        }
    }

    #[test]
    fn a_socket_in_the_file_system_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhere");
        });
        let found = ask(std::process::id(), &Door::Socket(path), "/").unwrap();
        assert_eq!(found, b"here");
    }
}
