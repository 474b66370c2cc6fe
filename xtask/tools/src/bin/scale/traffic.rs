//! Synthetic traffic: recorded connections again and again, many at a time.

use std::{net::SocketAddr, vec::IntoIter};

use hopsight_core::model::{Event, FlowId, Timestamp};

use hopsight_tools::recorded::{
    Script,
    events::{Setting, connection},
};

/// Events handed over at once: what gathers in the kernel's ring buffer before the agent wakes.
pub const BATCH_NS: u64 = 5_000_000;

/// A stream of connections that begin at a steady rate.
pub struct Traffic {
    scripts: Vec<Script>,
    hops: usize,
    next_flow: u64,
}

impl Traffic {
    /// Connections of these recordings in turn to `hops` upstreams in turn, numbered from
    /// `first_flow` on.
    pub fn new(scripts: Vec<Script>, hops: usize, first_flow: u64) -> Self {
        Self { scripts, hops, next_flow: first_flow }
    }

    /// The events of `connections` connections that begin at `at`, one of each in turn.
    pub fn batch(&mut self, at: Timestamp, connections: usize, out: &mut Vec<Event>) {
        let mut open: Vec<IntoIter<Event>> = (0..connections)
            .map(|_| {
                let flow = self.next_flow;
                self.next_flow += 1;
                let index = usize::try_from(flow).unwrap_or_default();
                let script = &self.scripts[index % self.scripts.len()];
                connection(script, &setting(flow, at, index % self.hops)).into_iter()
            })
            .collect();
        while !open.is_empty() {
            out.extend(open.iter_mut().filter_map(Iterator::next));
            open.retain(|events| events.len() > 0);
        }
    }
}

/// Flow number `flow`, to upstream number `hop`.
pub fn setting(flow: u64, at: Timestamp, hop: usize) -> Setting {
    let [.., high, low] = hop.to_be_bytes();
    let upstream = SocketAddr::from(([10, 1, high, low], 443));
    Setting { flow: FlowId(flow), at, proxy: "nginx".into(), upstream }
}
