//! Which processes are watched: by the name of their program, whatever their threads are called.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hopsight_capture::LiveSource;
use hopsight_core::model::{Event, Origin};
use tempfile::TempDir;

use crate::harness::{collect_until, listen, options, privileged, start};

/// The watched name.
const NAME: &str = "hs-proxy";

/// A shell that may be called otherwise, where systems have it.
fn bash() -> &'static str {
    let places = ["/bin/bash", "/usr/bin/bash"];
    places.into_iter().find(|path| Path::new(path).exists()).expect("bash")
}

/// A shell under the watched name.
fn program() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let program = directory.path().join(NAME);
    std::fs::copy(bash(), &program).expect("copy the shell");
    (directory, program)
}

/// Runs a script that waits for a line first.
fn spawn(program: &Path, script: &str) -> Child {
    let script = format!("read line; {script}");
    let mut command = Command::new(program);
    command.args(["-c", &script]).stdin(Stdio::piped());
    command.spawn().expect("run the shell")
}

fn go_on(mut child: Child) {
    child.stdin.take().expect("its input").write_all(b"go\n").expect("write");
    assert!(child.wait().expect("wait").success());
}

/// Names under which connections to `to` were seen.
fn names(source: &mut LiveSource, to: SocketAddr) -> Vec<String> {
    let is_ours =
        |event: &Event| matches!(event, Event::Opened { destination, .. } if *destination == to);
    let events = collect_until(source, |events| events.iter().any(is_ours));
    let opened = events.iter().filter(|event| is_ours(event));
    let name = |event: &Event| match event {
        Event::Opened { origin: Origin::Process(process), .. } => Some(process.name.to_string()),
        _ => None,
    };
    opened.filter_map(name).collect()
}

#[test]
fn a_process_keeps_the_name_of_its_program() {
    if !privileged("a_process_keeps_the_name_of_its_program") {
        return;
    }
    let (_directory, program) = program();
    let mut source = start(options(NAME));
    let (listener, to) = listen("127.0.0.1");
    let connect = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    let mut run = |program: &Path, script: &str| {
        go_on(spawn(program, script));
        drop(listener.accept().expect("accept"));
        names(&mut source, to)
    };
    for (case, program, script) in [
        ("under its own name", &*program, connect.clone()),
        ("renamed", &program, format!("echo wrk:worker_0 > /proc/$$/comm; {connect}")),
        (
            "renamed twice",
            &program,
            format!("echo one > /proc/$$/comm; echo two > /proc/$$/comm; {connect}"),
        ),
        (
            "started by another program",
            Path::new(bash()),
            format!("exec {} -c 'echo other > /proc/$$/comm; {connect}'", program.display()),
        ),
    ] {
        assert_eq!(run(program, &script), [NAME], "{case}");
    }
}

#[test]
fn a_process_that_runs_another_program_is_not_watched_any_more() {
    if !privileged("a_process_that_runs_another_program_is_not_watched_any_more") {
        return;
    }
    let (_directory, program) = program();
    let mut source = start(options(NAME));
    let (listener, to) = listen("127.0.0.1");
    let connect = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    let other = format!("echo other > /proc/$$/comm; exec {} -c '{connect}'", bash());
    go_on(spawn(&program, &other));
    drop(listener.accept().expect("accept"));
    // One that is watched comes last, so that what came before it has arrived.
    go_on(spawn(&program, &connect));
    drop(listener.accept().expect("accept"));
    assert_eq!(names(&mut source, to), [NAME]);
}

#[test]
fn a_process_that_runs_already_is_known_by_its_file_and_its_first_argument() {
    if !privileged("a_process_that_runs_already_is_known_by_its_file_and_its_first_argument") {
        return;
    }
    let (_directory, program) = program();
    let (listener, to) = listen("127.0.0.1");
    let connect = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    let renamed = format!("echo other > /proc/$$/comm; echo ready; read line; {connect}");
    for (case, program, first_argument) in
        [("its file", &*program, "sh"), ("its first argument", Path::new(bash()), NAME)]
    {
        let mut command = Command::new(program);
        command
            .arg0(first_argument)
            .args(["-c", &renamed])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("run the shell");
        let mut ready = [0; 6];
        let output = child.stdout.as_mut().expect("its output");
        output.read_exact(&mut ready).expect("it is renamed");
        let mut source = start(options(NAME));
        go_on(child);
        drop(listener.accept().expect("accept"));
        assert_eq!(names(&mut source, to), [NAME], "{case}");
    }
}
