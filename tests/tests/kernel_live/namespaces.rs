//! Network namespaces below the cgroup are seen like any other.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
};

use hopsight_core::model::{Direction, Event};
use hopsight_tests::{netns::NetNs, process::find};
use rustix::{
    net::{AddressFamily, SendFlags, SocketType, sendto, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::harness::{
    HELLO, Turns, as_thread, captured, collect_closed, converse, listen, options, pattern,
    privileged, start, whole,
};

/// `None`, said visibly, where there is no `ip`.
fn namespace(test: &str) -> Option<NetNs> {
    if find("ip").is_none() {
        hopsight_test_support::not_run(test, "needs ip (iproute2)");
        return None;
    }
    Some(NetNs::create().expect("make a network namespace"))
}

/// Runs `work` in a thread inside; sockets it makes stay inside.
fn inside<T: Send + 'static>(netns: &NetNs, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = netns.open().expect("open the namespace");
    as_thread("hs-inside", move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("enter the namespace");
        work()
    })
    .join()
    .expect("the thread inside")
}

#[test]
fn both_ends_of_a_veth_pair_are_seen() {
    if !privileged("both_ends_of_a_veth_pair_are_seen") {
        return;
    }
    let Some(netns) = namespace("both_ends_of_a_veth_pair_are_seen") else { return };
    let (near, far) = (netns.near.to_string(), netns.far.to_string());
    let turns: Turns = vec![pattern(HELLO, 50_000), pattern(&[22, 3, 3, 0, 80, 2], 50_000)];

    // From here to there.
    let mut source = start(options("hs-outside"));
    let (listener, to) = inside(&netns, move || listen(&far));
    let from = converse("hs-outside", listener, to, &turns);
    check(&collect_closed(&mut source), from, to, &turns);

    // From there to here: the client's thread is inside.
    let mut source = start(options("hs-within"));
    let (listener, to) = listen(&near);
    let from = inside(&netns, {
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
    let Some(netns) = namespace(test) else { return };
    let mut source = start(options("hs-fast-open"));
    inside(&netns, || {
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
