//! Connections that were there before the agent.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use hopsight_core::model::{Beginning, Direction, Event, Origin};

use crate::harness::{
    captured, collect_until, connection_of, listen, options, privileged, start, whole,
};

#[test]
fn older_connections_are_taken_in_where_they_are() {
    if !privileged("older_connections_are_taken_in_where_they_are") {
        return;
    }
    // The kernel knows the process by the name of its first thread.
    let process = std::fs::read_to_string("/proc/self/comm").expect("own name");
    for address in ["127.0.0.1", "::1"] {
        let (listener, to) = listen(address);
        let mut client = TcpStream::connect(to).expect("connect");
        let (mut server, from) = listener.accept().expect("accept");
        client.write_all(b"before").expect("write");
        server.read_exact(&mut [0; 6]).expect("read");

        let mut options = options(process.trim_end());
        options.adopt = true;
        let mut source = start(options);
        assert!(source.stats().read().adopted >= 1);
        client.write_all(b"\x17\x03\x03 after").expect("write");
        server.read_exact(&mut [0; 9]).expect("read");
        server.write_all(b"answer").expect("write");
        client.read_exact(&mut [0; 6]).expect("read");
        drop(client);

        let mut events = collect_until(&mut source, |events| {
            events.iter().filter(|e| matches!(e, Event::Fin { .. })).count() >= 1
        });
        // Other tests of this process have connections, too.
        let ours = events.iter().find_map(|event| match event {
            Event::Established { connection, local, remote, .. }
                if (*local, *remote) == (from, to) =>
            {
                Some(*connection)
            }
            _ => None,
        });
        let ours = ours.expect("the connection was adopted");
        assert!(
            !events.iter().any(|e| matches!(e, Event::Established { local, .. } if *local == to)),
            "the accepted end is not"
        );
        events.retain(|event| connection_of(event) == ours);
        let Event::Opened { origin: Origin::Process(by), destination, beginning, .. } = &events[0]
        else {
            panic!("opened first: {events:?}");
        };
        assert_eq!((by.pid, &*by.name), (std::process::id(), process.trim_end()));
        assert_eq!((*destination, *beginning), (to, Beginning::MidStream));
        assert!(
            captured(&events, Direction::ToServer) == whole(b"\x17\x03\x03 after"),
            "{events:?}"
        );
        assert!(captured(&events, Direction::ToClient) == whole(b"answer"), "{events:?}");
    }
}
