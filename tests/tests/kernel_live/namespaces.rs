//! Network namespaces below the cgroup are seen like any other.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use hopsight_core::model::{Direction, Event};
use rustix::{
    net::{AddressFamily, SendFlags, SocketType, sendto, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::harness::{
    HELLO, Turns, as_thread, captured, collect_closed, converse, options, pattern, privileged,
    start, whole,
};

/// A network namespace behind a veth pair; removed when dropped.
struct Namespace {
    name: String,
    /// Third byte of the addresses 10.203.x.1 (here) and 10.203.x.2 (there).
    net: u32,
}

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().expect("run ip");
    assert!(status.success(), "ip {args}");
}

impl Namespace {
    /// `None`, said visibly, where there is no `ip`. `number` tells those of one process apart.
    fn new(test: &str, number: u32) -> Option<Self> {
        if Command::new("ip").arg("-V").output().is_err() {
            hopsight_test_support::not_run(test, "needs ip (iproute2)");
            return None;
        }
        let pid = std::process::id() * 2 + number;
        let (name, net) = (format!("hopsight-{pid}"), pid % 250);
        ip(&format!("netns add {name}"));
        let this = Self { name, net };
        let (name, here) = (&this.name, format!("hs{pid}"));
        ip(&format!("link add {here} type veth peer name eth0 netns {name}"));
        ip(&format!("addr add 10.203.{net}.1/24 dev {here}"));
        ip(&format!("link set {here} up"));
        ip(&format!("-n {name} addr add 10.203.{net}.2/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        Some(this)
    }

    /// Runs `work` in a thread inside; sockets it makes stay inside.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("open the namespace");
        as_thread("hs-inside", move || {
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&file),
                Some(LinkNameSpaceType::Network),
            )
            .expect("enter the namespace");
            work()
        })
        .join()
        .expect("the thread inside")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The veth pair goes with it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    crate::harness::listen(address)
}

#[test]
fn both_ends_of_a_veth_pair_are_seen() {
    if !privileged("both_ends_of_a_veth_pair_are_seen") {
        return;
    }
    let Some(namespace) = Namespace::new("both_ends_of_a_veth_pair_are_seen", 0) else { return };
    let net = namespace.net;
    let turns: Turns = vec![pattern(HELLO, 50_000), pattern(&[22, 3, 3, 0, 80, 2], 50_000)];

    // From here to there.
    let mut source = start(options("hs-outside"));
    let (listener, to) = namespace.inside(move || listen(&format!("10.203.{net}.2")));
    let from = converse("hs-outside", listener, to, &turns);
    check(&collect_closed(&mut source), from, to, &turns);

    // From there to here: the client's thread is inside.
    let mut source = start(options("hs-within"));
    let (listener, to) = listen(&format!("10.203.{net}.1"));
    let from = namespace.inside({
        let turns = turns.clone();
        // A thread inherits the namespace of the one that makes it, so the server is inside as
        // well; its socket was made outside and stays there.
        move || converse("hs-within", listener, to, &turns)
    });
    check(&collect_closed(&mut source), from, to, &turns);
}

fn check(events: &[Event], from: SocketAddr, to: SocketAddr, turns: &Turns) {
    let established = events.iter().find_map(|event| match event {
        Event::Established { local, remote, .. } => Some((*local, *remote)),
        _ => None,
    });
    assert_eq!(established, Some((from, to)));
    assert!(captured(events, Direction::ToServer) == whole(&turns[0]));
    assert!(captured(events, Direction::ToClient) == whole(&turns[1]));
}

/// `MSG_FASTOPEN` of linux/socket.h.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

#[test]
fn data_in_the_syn_is_the_beginning() {
    let test = "data_in_the_syn_is_the_beginning";
    if !privileged(test) {
        return;
    }
    let Some(namespace) = Namespace::new(test, 1) else { return };
    let mut source = start(options("hs-fast-open"));
    namespace.inside(|| {
        // Client and server, data in the SYN without a cookie, every listener (ip-sysctl.rst).
        fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1543").expect("allow TCP fast open");
        let (listener, to) = listen("127.0.0.1");
        let client = as_thread("hs-fast-open", move || {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            let sent = sendto(&socket, HELLO, FAST_OPEN, &to).expect("send with the SYN");
            assert_eq!(sent, HELLO.len());
            let mut stream = TcpStream::from(socket);
            stream.write_all(b"and more").expect("write");
            stream.read_exact(&mut [0; 6]).expect("read");
        });
        let (mut server, _) = listener.accept().expect("accept");
        server.read_exact(&mut [0; HELLO.len() + 8]).expect("read");
        server.write_all(b"answer").expect("write");
        client.join().expect("client");
    });
    let events = collect_closed(&mut source);
    let first = events.iter().position(|event| matches!(event, Event::Segment { .. }));
    let established = events.iter().position(|event| matches!(event, Event::Established { .. }));
    assert!(first < established, "the data left with the SYN: {events:?}");
    assert!(
        captured(&events, Direction::ToServer) == whole(&[HELLO, b"and more"].concat()),
        "{events:?}"
    );
    assert!(captured(&events, Direction::ToClient) == whole(b"answer"), "{events:?}");
}
