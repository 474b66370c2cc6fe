//! Network namespaces below the cgroup are seen like any other.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    process::Command,
};

use hopsight::model::{Direction, Event};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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
    fn new() -> Self {
        let pid = std::process::id();
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
        this
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
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("SKIP: both_ends_of_a_veth_pair_are_seen: needs ip (iproute2)");
        return;
    }
    let namespace = Namespace::new();
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
