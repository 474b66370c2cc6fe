//! Sessions that workers of one proxy share, where no library shows tickets.

use std::time::Duration;

use super::{
    acceptance_tests::without_library,
    library_tests::{reuse, run},
    *,
};
use crate::model::{
    ClientAuth::{Presented, Unknown},
    Descent, Origin,
};

/// The same events of this process.
fn of(pid: u32, mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::Opened { origin: Origin::Process(process), .. } = event {
            process.pid = pid;
        }
    }
    without_library(events)
}

fn began(pid: u32, events: &[Event], before: Duration) -> Event {
    let at = events[0].at().0 - u64::try_from(before.as_nanos()).unwrap();
    Event::Began { pid, descent: Descent::default(), at: Timestamp(at) }
}

#[test]
fn a_worker_resumes_what_another_began() {
    const SOON: Duration = Duration::from_millis(20);
    const BEFORE: Duration = Duration::from_secs(5);
    let [full, resumed] = reuse();
    let worker = |pid, before| began(pid, &full, before);
    let unseen = (Unknown, Some(Reason::ResumedUnseen));
    for (name, begun, resumes, expected) in [
        ("the process itself, older than the watch", vec![], 1, (Presented, None)),
        ("another, older than the watch", vec![], 2, unseen),
        ("another of its generation", vec![worker(1, SOON), worker(2, SOON)], 2, (Presented, None)),
        ("another that began when the watch did", vec![worker(2, SOON)], 2, unseen),
        (
            "one of the generation before",
            vec![worker(1, BEFORE), began(2, &resumed, Duration::ZERO)],
            2,
            unseen,
        ),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        run(&mut pipeline, begun.into_iter().chain(of(1, full.clone())));
        let last = run(&mut pipeline, of(resumes, resumed.clone())).pop().unwrap();
        assert_eq!((last.verdict.client_auth, last.verdict.reason), expected, "{name}");
    }
}
