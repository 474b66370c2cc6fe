//! A recorded connection as the events that live capture makes of it.

use std::{net::SocketAddr, sync::Arc};

use hopsight_core::model::{
    Beginning, CloseCause, ConnectionId, Event, Origin, Process, Timestamp,
};

use crate::recorded::Script;

/// Time between two events of a connection, in nanoseconds.
const STEP: u64 = 20_000;

/// Where and when a recorded connection happens again.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its number.
    pub connection: ConnectionId,
    /// When it begins.
    pub at: Timestamp,
    /// Process name of the proxy.
    pub proxy: Arc<str>,
    /// The other end.
    pub upstream: SocketAddr,
}

/// From the opening to the close.
#[must_use]
pub fn connection(script: &Script, setting: &Setting) -> Vec<Event> {
    let Setting { connection, at, proxy, upstream } = setting.clone();
    let mut now = at;
    let mut tick = || {
        now.0 += STEP;
        now
    };
    let origin = Origin::Process(Process { pid: 1000, name: proxy, cgroup_id: 1 });
    let local = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let mut events = Vec::with_capacity(script.said.len() + 3);
    let beginning = Beginning::Seen;
    events.push(Event::Opened { connection, at: tick(), origin, destination: upstream, beginning });
    events.push(Event::Established { connection, at: tick(), local, remote: upstream });
    let mut sent = [0_u32; 2];
    for (direction, bytes) in &script.said {
        let payload_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let offset = sent[direction.index()];
        sent[direction.index()] = offset.wrapping_add(payload_len);
        let (direction, bytes, at) = (*direction, bytes.clone(), tick());
        let acked = Some(sent[direction.reversed().index()]);
        events.push(Event::Segment {
            connection,
            at,
            direction,
            offset,
            payload_len,
            acked,
            bytes,
        });
    }
    events.push(Event::Closed { connection, at: tick(), cause: CloseCause::Closed });
    events
}
