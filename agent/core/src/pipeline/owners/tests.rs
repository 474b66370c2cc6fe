//! Whose sessions are whose.

use Owner::{Generation as G, Mixed as M, Process as P};
use Step::{Began, Forked, InPlaceOf, Opens, Orphaned};

use super::*;

type Case = (&'static str, &'static [Step], &'static [(u32, Owner)]);

/// What happens, in tenths of a second.
enum Step {
    Began(u32, u64),
    /// By one that has opened connections.
    Forked(u32, u32, u64),
    /// By one that has ended.
    Orphaned(u32, u64),
    /// Just after another had ended, by the parent of both.
    InPlaceOf(u32, u32, u64),
    Opens(u32, u64),
}

fn process(pid: u32) -> Process {
    Process { pid, name: "nginx".into(), cgroup_id: 1 }
}

fn at(tenths: u64) -> Timestamp {
    Timestamp(tenths * 100_000_000)
}

fn from(parents: &[u32]) -> Descent {
    Descent::From(parents.to_vec())
}

/// What happens, and whose the processes are then.
const CASES: &[Case] = &[
    ("older than the watch", &[Opens(1, 5), Opens(2, 5)], &[(1, P(1)), (2, P(2))]),
    ("not seen to open anything", &[Began(1, 5)], &[(1, P(1))]),
    (
        "workers of one generation, whoever speaks first",
        &[Began(2, 11), Opens(2, 50), Began(1, 10), Opens(1, 90)],
        &[(1, G(1)), (2, G(1))],
    ),
    (
        "a reload",
        &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(1, 65), Opens(2, 80)],
        &[(1, G(1)), (2, G(2))],
    ),
    (
        "a reload among those that nobody saw begin",
        &[Opens(1, 50), Began(2, 60), Opens(1, 65), Opens(2, 80)],
        &[(1, P(1)), (2, G(1))],
    ),
    (
        "one among those that nobody saw begin, of which one goes on",
        &[Opens(1, 50), Began(2, 60), Opens(1, 65), Opens(2, 80), Opens(1, 99)],
        &[(1, P(1)), (2, M(2))],
    ),
    (
        "a worker in place of another",
        &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(1, 75), Opens(2, 80)],
        &[(1, G(1)), (2, G(1))],
    ),
    (
        "the same among those that nobody saw begin",
        &[Opens(1, 50), Began(2, 60), Opens(1, 75), Opens(2, 80)],
        &[(1, P(1)), (2, P(2))],
    ),
    (
        "a worker in place of another that is busy at once",
        &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(2, 61), Opens(1, 75)],
        &[(1, M(1)), (2, M(2))],
    ),
    (
        "the only worker ends, and another begins",
        &[Began(1, 10), Opens(1, 50), InPlaceOf(2, 1, 90), Opens(2, 95)],
        &[(1, G(1)), (2, G(1))],
    ),
    (
        "one of two quiet workers ends, and another begins",
        &[
            Began(1, 10),
            Began(2, 10),
            Opens(1, 50),
            Opens(2, 50),
            InPlaceOf(3, 1, 90),
            Opens(3, 95),
        ],
        &[(2, G(1)), (3, G(1))],
    ),
    (
        "in place of one older than the watch",
        &[Opens(1, 20), InPlaceOf(2, 1, 60), Opens(2, 90)],
        &[(1, P(1)), (2, G(1))],
    ),
    (
        "in place of one older than the watch, beside a generation",
        &[Opens(1, 20), Began(2, 50), Opens(2, 55), InPlaceOf(3, 1, 90), Opens(3, 95)],
        &[(2, G(1)), (3, G(2))],
    ),
    (
        "in place of one of an older generation",
        &[
            Began(1, 10),
            Opens(1, 20),
            Began(2, 50),
            Opens(2, 55),
            InPlaceOf(3, 1, 90),
            Opens(3, 95),
        ],
        &[(2, G(2)), (3, G(3))],
    ),
    (
        "and another one after that",
        &[
            Began(1, 10),
            Opens(1, 50),
            Began(2, 60),
            Opens(2, 61),
            Opens(1, 75),
            Began(3, 90),
            Opens(1, 110),
            Opens(3, 111),
        ],
        &[(1, M(1)), (3, M(3))],
    ),
    (
        "a reload after that",
        &[
            Began(1, 10),
            Opens(1, 50),
            Began(2, 60),
            Opens(2, 61),
            Opens(1, 75),
            Began(3, 90),
            Opens(3, 91),
        ],
        &[(3, G(3))],
    ),
    (
        "a child of one that opens connections",
        &[Began(1, 10), Opens(1, 20), Forked(2, 1, 60), Opens(2, 70)],
        &[(1, G(1)), (2, G(1))],
    ),
    (
        "a child of one that opened some before the watch",
        &[Opens(1, 20), Forked(2, 1, 60), Opens(2, 70)],
        &[(1, P(1)), (2, M(2))],
    ),
    (
        "a child of one that was mixed",
        &[Orphaned(1, 10), Opens(1, 20), Forked(2, 1, 60), Opens(2, 70)],
        &[(1, M(1)), (2, M(2))],
    ),
    ("a daemon whose parent has ended", &[Orphaned(1, 10), Opens(1, 20)], &[(1, M(1))]),
    ("said twice", &[Began(1, 10), Opens(1, 50), Began(1, 10), Opens(1, 90)], &[(1, G(1))]),
    (
        "another with its number",
        &[Began(1, 10), Opens(1, 50), Began(1, 100), Opens(1, 101)],
        &[(1, G(2))],
    ),
];

#[test]
fn who_shares_sessions() {
    for (name, steps, expected) in CASES {
        let mut owners = Owners::new(10);
        for step in *steps {
            match *step {
                Began(pid, tenths) => drop(owners.began(pid, from(&[]), at(tenths))),
                Forked(pid, parent, tenths) => {
                    owners.began(pid, from(&[parent]), at(tenths));
                }
                InPlaceOf(pid, other, tenths) => {
                    owners.began(pid, Descent::InPlaceOf(other), at(tenths));
                }
                Orphaned(pid, tenths) => {
                    owners.began(pid, Descent::Unknown, at(tenths));
                }
                Opens(pid, tenths) => owners.opens(&process(pid), at(tenths)),
            }
        }
        for (pid, owner) in *expected {
            assert_eq!(owners.of(*pid), *owner, "{name}: {pid}");
        }
    }
}

#[test]
fn programs_and_containers_stand_apart() {
    let mut owners = Owners::new(10);
    let processes = [("nginx", 1), ("haproxy", 1), ("nginx", 2)].map(|(name, cgroup_id)| {
        let pid = u32::try_from(cgroup_id).unwrap() * 10 + u32::from(name == "nginx");
        Process { pid, name: name.into(), cgroup_id }
    });
    for process in &processes {
        owners.began(process.pid, from(&[]), at(10));
        owners.opens(process, at(20));
    }
    let owners = processes.map(|process| owners.of(process.pid));
    assert_eq!(owners, [1, 2, 3].map(Owner::Generation));
}

/// Two readings of one beginning differ by the time between two clocks.
#[test]
fn a_beginning_that_is_read_again_is_no_other() {
    let mut owners = Owners::new(10);
    assert!(owners.began(1, from(&[]), at(10)));
    owners.opens(&process(1), at(20));
    let again = Timestamp(at(10).0 - 30_000_000);
    assert!(!owners.began(1, from(&[]), again), "the same process");
    owners.opens(&process(1), at(300));
    assert_eq!(owners.of(1), Owner::Generation(1));
    assert!(owners.began(1, from(&[]), at(40)), "another one");
}

/// Whoever opens connections stays, and nothing is said of one that was forgotten.
#[test]
fn nobody_is_taken_for_another_after_they_were_forgotten() {
    let mut owners = Owners::new(4);
    let begin = |owners: &mut Owners, pid: u32| {
        owners.began(pid, from(&[]), at(u64::from(pid) * 100));
        owners.opens(&process(pid), at(u64::from(pid) * 100 + 1));
    };
    owners.opens(&process(1_000), at(1));
    begin(&mut owners, 1);
    for pid in 2..20 {
        owners.opens(&process(1), at(u64::from(pid) * 100 + 50));
        begin(&mut owners, pid);
    }
    assert_ne!(owners.of(1), Owner::Process(1), "it is at work");
    assert!(owners.members.entries.contains_key(&1), "it is at work");
    assert_eq!(owners.of(2), Owner::Mixed(2), "forgotten");
    owners.opens(&process(2), at(2_000));
    assert_eq!(owners.of(2), Owner::Mixed(2), "forgotten, and nothing is known of it since");
    assert_eq!(owners.of(1_000), Owner::Process(1_000), "older than the watch");

    let mut owners = Owners::new(4);
    let all = (1..9).map(|cgroup_id| Process { cgroup_id, ..process(10) });
    for (pid, process) in (10..).zip(all) {
        let process = Process { pid, ..process };
        owners.began(pid, from(&[]), at(10));
        owners.opens(&process, at(20));
    }
    assert_eq!(owners.of(17), Owner::Mixed(17), "a program of which all may be forgotten");
}
