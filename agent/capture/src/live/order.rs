//! What the library showed comes before what crossed the wire after it.
//!
//! The two kinds of records have a ring buffer each. A verdict is final when the connection's own
//! records say so, and what its library showed would then come too late: records of connections wait
//! until the other buffer, which is read after theirs, was read to its end. That end may be hidden for a
//! while behind a record that a thread has reserved and not written yet, because the kernel took its
//! processor away in between.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{HashMap, MapData, RingBuf};
use hopsight_abi::{Observation, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::debug;

use crate::{decode::append_events, stats::Received};
use hopsight_core::model::{Event, LibraryEvent, LibraryObservation};
use hopsight_system::clock::monotonic_now;

/// Records handled per call of [`read`], so that a poll stays short and its events few.
const BATCH: usize = 1024;

/// Longest that records of connections wait: the turn of a thread on a crowded processor.
const LONGEST: Duration = Duration::from_millis(250);

/// Most events that wait.
const MOST: usize = 32_768;

/// Events of connections that wait for what their libraries showed.
#[derive(Debug, Default)]
pub struct Waiting {
    events: Vec<Event>,
    /// When the first of them was read.
    since: Option<Instant>,
}

impl Waiting {
    /// Where events of connections are put when they are read.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// Hands out what waits, unless something that a library showed may still be unread (`is_behind`,
    /// asked only where something waits) and can be waited for.
    pub fn release(
        &mut self,
        is_behind: impl FnOnce() -> bool,
        now: Instant,
        out: &mut Vec<Event>,
    ) {
        if self.events.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(now);
        if self.events.len() < MOST && now.duration_since(since) < LONGEST && is_behind() {
            return;
        }
        self.since = None;
        out.append(&mut self.events);
    }
}

/// Appends what the next records of a ring buffer tell, and to `started` the processes that run another
/// program; returns whether there was a record.
pub fn read(
    ring: &mut RingBuf<MapData>,
    received: &Received,
    out: &mut Vec<Event>,
    started: &mut Vec<u32>,
) -> bool {
    for at in 0..BATCH {
        let Some(item) = ring.next() else { return at > 0 };
        match Record::from_bytes(&item) {
            Ok((header, record)) => {
                received.record(header.kind);
                if let Record::Library(library, _) = record
                    && library.observation == Observation::Started as u8
                {
                    started.push(library.tgid);
                }
                append_events(&header, record, out);
            }
            Err(error) => {
                received.decode_error();
                debug!(%error, "undecodable record");
            }
        }
    }
    true
}

/// What no record could say of tickets.
#[derive(Debug)]
pub struct Untold {
    /// The processes of which one was lost.
    pub lost: HashMap<MapData, u32, u8>,
    /// Libraries are not watched for a while.
    pub is_paused: Arc<AtomicBool>,
}

impl Untold {
    /// Takes it out, and says it.
    pub fn take(&mut self) -> Vec<Event> {
        let tell = |pid, observation| {
            Event::Library(LibraryEvent { at: monotonic_now(), pid, ssl: 0, observation })
        };
        let is_paused = self.is_paused.swap(false, Ordering::Relaxed);
        let mut events: Vec<_> =
            is_paused.then(|| tell(0, LibraryObservation::WatchPaused)).into_iter().collect();
        let lost: Vec<u32> = self.lost.keys().flatten().collect();
        for pid in lost {
            // Nobody else takes it out.
            let _ = self.lost.remove(&pid);
            events.push(tell(pid, LibraryObservation::TicketLost));
        }
        events
    }
}

/// Whether a ring buffer holds a record, written or only reserved.
pub fn is_readable(ring: &RingBuf<MapData>) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::model::{CloseCause, ConnectionId, Timestamp};

    #[test]
    fn records_wait_for_the_library_but_not_for_ever() {
        let event = Event::Closed {
            connection: ConnectionId(1),
            at: Timestamp(1),
            cause: CloseCause::Closed,
        };
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        for (name, events, looks, expected) in [
            ("nothing unread", 1, &[(0, false)][..], 1),
            ("something unread", 1, &[(0, true)], 0),
            ("read in the end", 1, &[(0, true), (5, true), (10, false)], 1),
            ("never read", 1, &[(0, true), (249, true), (250, true)], 1),
            ("too many to wait", MOST, &[(0, true)], MOST),
            ("nothing waits", 0, &[(0, false)], 0),
        ] {
            let mut waiting = Waiting::default();
            waiting.events().extend(std::iter::repeat_n(event.clone(), events));
            let mut out = Vec::new();
            for &(at, is_behind) in looks {
                waiting.release(|| is_behind, after(at), &mut out);
            }
            assert_eq!(out.len(), expected, "{name}");
        }
    }

    #[test]
    fn each_wait_is_counted_anew() {
        let event = Event::Lost { connection: ConnectionId(1), at: Timestamp(1) };
        let (start, mut waiting, mut out) = (Instant::now(), Waiting::default(), Vec::new());
        for at in [0, 250, 300] {
            waiting.events().push(event.clone());
            waiting.release(|| true, start + Duration::from_millis(at), &mut out);
        }
        assert_eq!(out.len(), 2, "the third waits");
    }
}
