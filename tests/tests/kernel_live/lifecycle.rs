//! Starting, running side by side, waking and going away.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use hopsight_capture::{Cgroup, LiveSource, Source as _, loader::PROCESS_PROGRAMS};
use hopsight_core::model::Event;

use crate::harness::{
    as_thread, collect_closed, collect_for, collect_until, converse, listen, options, privileged,
    start,
};

#[test]
fn two_sources_see_the_same_connection() {
    if !privileged("two_sources_see_the_same_connection") {
        return;
    }
    let name = "hs-both";
    let mut sources = [start(options(name)), start(options(name))];
    let (listener, to) = listen("127.0.0.1");
    converse(name, listener, to, &vec![b"hello".to_vec(), b"world".to_vec()]);
    let [first, second] = sources.each_mut().map(|source| {
        let mut events = collect_closed(source);
        for event in &mut events {
            // Each program reads the clock for itself.
            match event {
                Event::Opened { at, .. }
                | Event::Established { at, .. }
                | Event::Inside { at, .. }
                | Event::Segment { at, .. }
                | Event::Fin { at, .. }
                | Event::Closed { at, .. }
                | Event::Began { at, .. }
                | Event::Lost { at, .. } => at.0 = 0,
                Event::Library(_) => {}
            }
        }
        events
    });
    assert!(first.len() >= 6, "{first:?}");
    assert_eq!(first, second);
}

#[test]
fn traffic_goes_on_when_the_source_goes() {
    if !privileged("traffic_goes_on_when_the_source_goes") {
        return;
    }
    let name = "hs-going";
    let mut source = start(options(name));
    let (listener, to) = listen("127.0.0.1");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let client = as_thread(name, move || {
        let mut stream = TcpStream::connect(to).expect("connect");
        stream.write_all(b"before").expect("write");
        wait.recv().expect("go on");
        stream.write_all(b"after").expect("write");
    });
    let (mut accepted, _) = listener.accept().expect("accept");
    collect_until(&mut source, |events| events.iter().any(|e| matches!(e, Event::Segment { .. })));
    drop(source);
    go_on.send(()).expect("the client waits");
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).expect("read");
    client.join().expect("client");
    assert_eq!(heard, "beforeafter");
}

#[test]
fn a_waker_ends_the_wait() {
    if !privileged("a_waker_ends_the_wait") {
        return;
    }
    let mut source = start(options("hs-asleep"));
    let waker = source.waker().expect("a waker");
    let alarm = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        waker.wake();
    });
    let before = Instant::now();
    source.poll(Duration::from_secs(4), &mut Vec::new()).expect("poll");
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    alarm.join().expect("alarm");
    let before = Instant::now();
    source.poll(Duration::from_millis(200), &mut Vec::new()).expect("poll");
    assert!(before.elapsed() >= Duration::from_millis(150), "the wake-up was used up");
}

#[test]
fn program_statistics_are_kept_on_request() {
    if !privileged("program_statistics_are_kept_on_request") {
        return;
    }
    let name = "hs-statistics";
    let mut options = options(name);
    options.program_statistics = true;
    let mut source = start(options);
    let handle = source.stats();
    let (listener, to) = listen("127.0.0.1");
    converse(name, listener, to, &vec![b"hello".to_vec()]);
    collect_closed(&mut source);
    let stats = thread::spawn(move || handle.read()).join().expect("read from another thread");
    let mut names: Vec<&str> = stats.programs.iter().map(|program| &*program.name).collect();
    names.sort_unstable();
    let network = ["connect4", "connect6", "egress", "ingress", "sock_ops"];
    assert!(network.iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(names.len(), network.len() + PROCESS_PROGRAMS.len(), "{names:?}");
    for name in ["egress", "ingress", "connect4", "sock_ops"] {
        let program = stats.programs.iter().find(|program| program.name == name).expect("listed");
        assert!(program.run_count > 0 && program.run_time > Duration::ZERO, "{program:?}");
    }
}

#[test]
fn a_cgroup_limits_the_scope() {
    if !privileged("a_cgroup_limits_the_scope") {
        return;
    }
    let root = Cgroup::open(None).expect("a cgroup v2 hierarchy").path;
    let group = root.join(format!("hopsight-test-{}", std::process::id()));
    std::fs::create_dir(&group).expect("create a cgroup");
    let mut options = options("bash");
    options.cgroup = Some(group.clone());
    let mut source = start(options);
    let (listener, to) = listen("127.0.0.1");
    let connect_from = |directory: &std::path::Path| {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec 3<>/dev/tcp/{}/{} && echo hi >&3",
            directory.display(),
            to.ip(),
            to.port()
        );
        let status = Command::new("bash").args(["-c", &script]).status().expect("run bash");
        assert!(status.success());
        drop(listener.accept().expect("accept"));
    };
    connect_from(&root);
    let outside = collect_for(&mut source, Duration::from_millis(200));
    connect_from(&group);
    let inside = collect_closed(&mut source);
    drop(source);
    std::fs::remove_dir(&group).expect("remove the cgroup");
    assert_eq!(outside, []);
    assert!(
        matches!(inside.first(), Some(Event::Opened { destination, .. }) if *destination == to)
    );
}

#[test]
fn what_cannot_work_says_what_to_do() {
    for (name, path, word) in [
        ("not a cgroup", "/proc", "cgroup v2"),
        ("nothing there", "/nonexistent/cgroup", "/nonexistent/cgroup"),
    ] {
        let mut options = options("unused");
        options.cgroup = Some(path.into());
        let Err(error) = LiveSource::start(options) else { panic!("{name}: started") };
        assert!(format!("{error:#}").contains(word), "{name}: {error:#}");
    }
}
