//! Synthetic traffic: recorded connections again and again, many at a time.

use std::{net::SocketAddr, vec::IntoIter};

use hopsight_core::model::{ConnectionId, Event, Timestamp};

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
    next: u64,
}

impl Traffic {
    /// Connections of these recordings in turn to `hops` upstreams in turn, numbered from
    /// `first` on.
    pub fn new(scripts: Vec<Script>, hops: usize, first: u64) -> Self {
        Self { scripts, hops, next: first }
    }

    /// The events of `connections` connections that begin at `at`, one of each in turn.
    pub fn batch(&mut self, at: Timestamp, connections: usize, out: &mut Vec<Event>) {
        let mut open: Vec<IntoIter<Event>> = (0..connections)
            .map(|_| {
                let number = self.next;
                self.next += 1;
                let index = usize::try_from(number).unwrap_or_default();
                let script = &self.scripts[index % self.scripts.len()];
                connection(script, &setting(number, at, index % self.hops)).into_iter()
            })
            .collect();
        while !open.is_empty() {
            out.extend(open.iter_mut().filter_map(Iterator::next));
            open.retain(|events| events.len() > 0);
        }
    }
}

/// Connection number `number`, to upstream number `hop`.
pub fn setting(number: u64, at: Timestamp, hop: usize) -> Setting {
    let [.., high, low] = hop.to_be_bytes();
    let upstream = SocketAddr::from(([10, 1, high, low], 443));
    Setting { connection: ConnectionId(number), at, proxy: "nginx".into(), upstream }
}
