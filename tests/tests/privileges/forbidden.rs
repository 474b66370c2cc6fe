//! What is tried after the drop, by a program that drops as the agent does.

use std::fs;

use hopsight_tests::{agent::sibling, process, requirement};

/// Runs it and returns its lines as duty, attempt, answer.
fn attempts(mode: &str) -> Vec<[String; 3]> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let readable = dir.path().to_str().unwrap();
    // The unprivileged user reads there, too.
    process::run("chmod", ["755", readable]).unwrap();
    let program = sibling("hopsight-confined").unwrap();
    let output = process::run(program.to_str().unwrap(), [mode, readable]).unwrap();
    println!("{mode}:\n{output}");
    let lines = output.lines().map(|line| {
        let mut words = line.split('\t').map(str::to_owned);
        std::array::from_fn(|_| words.next().unwrap())
    });
    lines.collect()
}

#[test]
fn the_filter_refuses_system_calls_even_to_root() {
    if !requirement::met("the_filter_refuses_system_calls_even_to_root", &[]) {
        return;
    }
    let found = attempts("system-calls");
    let calls = ["execve", "chroot", "setns", "mknodat", "setresuid", "setresgid", "kill"];
    let more = ["clock_settime", "socket(AF_PACKET)", "pidfd_getfd", "bpf(BPF_MAP_CREATE)"];
    for call in calls.iter().chain(&more) {
        let answers: Vec<_> = found.iter().filter(|[_, attempt, _]| attempt == call).collect();
        assert_eq!(answers.len(), 3, "{call}: one for each duty");
        for [duty, _, answer] in answers {
            assert_eq!(answer, "refused", "{duty} {call}");
        }
    }
    // Without Landlock the rest is root's.
    assert!(found.iter().any(|[_, attempt, answer]| attempt == "connect" && answer == "works"));
}

#[test]
fn threads_keep_what_their_duty_takes() {
    if !requirement::met("threads_keep_what_their_duty_takes", &[]) {
        return;
    }
    if !hopsight::privileges::landlock_is_supported() {
        hopsight_test_support::not_run(
            "Landlock",
            "threads_keep_what_their_duty_takes: not in this kernel",
        );
        return;
    }
    let found = attempts("everything");
    for (attempt, inspect, write, serve) in [
        ("read /etc/passwd", "works", "refused", "refused"),
        ("read what it serves from", "works", "refused", "works"),
        ("write there", "refused", "refused", "refused"),
        ("read /proc/self/stat", "works", "refused", "works"),
        ("look into its parent", "works", "refused", "refused"),
        ("listen", "works", "refused", "refused"),
        ("connect", "works", "refused", "refused"),
        ("execve", "refused", "refused", "refused"),
    ] {
        for (duty, expected) in [("inspect", inspect), ("write", write), ("serve", serve)] {
            let answer = found.iter().find(|[by, what, _]| by == duty && what == attempt);
            assert_eq!(
                answer.map(|[_, _, answer]| answer.as_str()),
                Some(expected),
                "{duty} {attempt}"
            );
        }
    }
}
