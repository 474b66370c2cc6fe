use super::*;
use crate::model::Beginning;

fn open(pipeline: &mut Pipeline, flow: u64, updates: &mut Vec<Update>) {
    let opened = Event::Opened {
        flow: FlowId(flow),
        at: Timestamp(flow),
        origin: Origin::PacketCapture,
        destination: ([10, 0, 0, 1], 443).into(),
        beginning: Beginning::Seen,
    };
    pipeline.handle(opened, updates);
}

fn close(pipeline: &mut Pipeline, flow: u64, updates: &mut Vec<Update>) {
    let (at, cause) = (Timestamp(flow), CloseCause::Closed);
    pipeline.handle(Event::Closed { flow: FlowId(flow), at, cause }, updates);
}

#[test]
fn one_silent_connection_does_not_hold_the_memory_of_those_after_it() {
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    open(&mut pipeline, 0, &mut updates);
    for flow in 1..20_000 {
        open(&mut pipeline, flow, &mut updates);
        close(&mut pipeline, flow, &mut updates);
        pipeline.tick(Timestamp(flow), &mut updates);
        updates.clear();
    }
    assert_eq!(pipeline.tracked(), 1);
    assert!(pipeline.order.len() <= 2 + ORDER_SLACK, "{} kept", pipeline.order.len());
}

#[test]
fn a_full_table_gives_up_the_oldest_as_evicted() {
    let mut pipeline = Pipeline::new(Limits { max_flows: 3, ..Limits::default() });
    let mut updates = Vec::new();
    for flow in 0..5 {
        open(&mut pipeline, flow, &mut updates);
    }
    let evicted: Vec<_> = updates
        .iter()
        .filter_map(|update| match update {
            Update::Report { report, .. } => Some((report.flow.0, report.verdict.reason)),
            Update::Done(_) => None,
        })
        .collect();
    assert_eq!(evicted, [(0, Some(Reason::Evicted)), (1, Some(Reason::Evicted))]);
    assert_eq!((pipeline.tracked(), pipeline.counters().evicted_table_full), (3, 2));
}
