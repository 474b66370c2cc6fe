//! Follows TCP connections in a capture and turns their segments into events.

mod connection;

use std::collections::{VecDeque, hash_map::Entry};

use hopsight_core::{
    collections::HashMap,
    model::{CloseCause, ConnectionId, Event, Timestamp},
};

use self::connection::{End, Key, TcpState, Tracked};
use super::{
    closed::Closed,
    packet::{Path, TcpSegment},
};

/// Connections followed at once, as many as the pipeline tracks by default. Beyond it one of which
/// nothing was heard for long is given up.
const MAX_OPEN: usize = 262_144;
/// Connections that wait for the acknowledgement of their ends, which a capture may lack.
const MAX_CLOSING: usize = 256;
/// Entries in the queue of openings beyond twice the open connections before it is swept.
const ORDER_SLACK: usize = 4096;

/// All connections of a capture that are still open.
#[derive(Debug, Default)]
pub struct TcpTracker {
    connections: HashMap<Key, Tracked>,
    by_id: HashMap<ConnectionId, Key>,
    /// In order of opening; also some that are closed by now.
    order: VecDeque<ConnectionId>,
    /// Both sides said that they will send no more.
    closing: VecDeque<ConnectionId>,
    closed: Closed,
    /// Where a connection was last asked for inside of a tunnel.
    asked_in: HashMap<[End; 2], Path>,
    /// Where a connection lies whose server's segments come by another way: with one direction
    /// tagged and the other not, or with a tunnel for one direction only.
    answers: HashMap<Key, Path>,
    opened: u64,
    silent: u64,
}

impl TcpTracker {
    /// No more bytes of this connection are wanted.
    pub fn done(&mut self, id: ConnectionId) {
        if let Some(tracked) = self.by_id.get(&id).and_then(|key| self.connections.get_mut(key)) {
            tracked.done = true;
        }
    }

    /// Segments of no connection that was reported: acknowledgements and ends of unknown ones.
    pub const fn silent(&self) -> u64 {
        self.silent
    }

    /// Takes in one segment.
    pub fn segment(&mut self, at: Timestamp, mut segment: TcpSegment<'_>, out: &mut Vec<Event>) {
        let path = std::mem::take(&mut segment.path);
        let mut key = Key::new(path, segment.source, segment.destination);
        if !self.answers.is_empty()
            && let Some(path) = self.answers.get(&key)
        {
            key.path = path.clone();
        }
        let opens = segment.syn && !segment.ack;
        if opens && self.connections.get(&key).is_some_and(|known| known.is_before(&segment)) {
            self.close(&key, at, CloseCause::Closed, out);
        }
        let tracked = match self.connections.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let key = place.into_key();
                let Some(tracked) = self.unknown(key, at, &segment, out) else { return };
                tracked
            }
        };
        let id = tracked.id;
        match tracked.apply(at, &segment, out) {
            TcpState::Open => {}
            TcpState::Closing => {
                self.closing.push_back(id);
                if self.closing.len() > MAX_CLOSING
                    && let Some(oldest) = self.closing.pop_front()
                {
                    self.close_connection(oldest, at, CloseCause::Closed, out);
                }
            }
            TcpState::Closed(cause) => self.close_connection(id, at, cause, out),
        }
    }

    /// The capture ended: connections of which both sides had finished are closed.
    pub fn end(&mut self, at: Timestamp, out: &mut Vec<Event>) {
        for id in std::mem::take(&mut self.closing) {
            self.close_connection(id, at, CloseCause::Closed, out);
        }
    }

    /// Where a segment of no open connection belongs: to a new one, to one whose other direction
    /// came by another way, or to none.
    fn unknown(
        &mut self,
        key: Key,
        at: Timestamp,
        segment: &TcpSegment<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&mut Tracked> {
        let opens = segment.syn && !segment.ack;
        if self.closed.repeats(&key, key.side(segment.source), segment.sequence, opens) {
            return None;
        }
        if segment.syn
            && segment.ack
            && let Some(asked) = self.asked_elsewhere(&key, segment)
        {
            let tracked = self.connections.get_mut(&asked)?;
            tracked.answers_in = Some(key.path.clone());
            self.answers.insert(key, asked.path);
            return Some(tracked);
        }
        let Some(opened) = Tracked::open(ConnectionId(self.opened + 1), at, segment, out) else {
            self.silent += 1;
            return None;
        };
        self.opened += 1;
        if !key.path.is_empty() {
            let tunnel = key.path.to_string().into();
            out.push(Event::Inside { connection: opened.id, at, tunnel });
            if opens {
                self.asked_in.insert(key.ends, key.path.clone());
            }
        }
        self.make_room(at, out);
        self.order.push_back(opened.id);
        self.by_id.insert(opened.id, key.clone());
        Some(self.connections.entry(key).insert_entry(opened).into_mut())
    }

    /// The connection that this answer (SYN and ACK) acknowledges, if it was asked for inside of
    /// something else.
    fn asked_elsewhere(&self, key: &Key, segment: &TcpSegment<'_>) -> Option<Key> {
        let in_tunnel = self.asked_in.get(&key.ends).cloned();
        let ways = [Some(Path::default()), in_tunnel];
        ways.into_iter().flatten().map(|path| Key { path, ends: key.ends }).find(|asked| {
            self.connections.get(asked).is_some_and(|tracked| tracked.is_answered_by(segment))
        })
    }

    /// Gives up connections that were silent for long, where there are too many.
    fn make_room(&mut self, at: Timestamp, out: &mut Vec<Event>) {
        while self.connections.len() >= MAX_OPEN {
            let Some(id) = self.order.pop_front() else { return };
            let key = self.by_id.get(&id);
            let Some(tracked) = key.and_then(|key| self.connections.get_mut(key)) else { continue };
            if std::mem::take(&mut tracked.active) {
                self.order.push_back(id);
            } else {
                self.close_connection(id, at, CloseCause::SourceEnded, out);
            }
        }
        if self.order.len() > 2 * self.connections.len() + ORDER_SLACK {
            let open = &self.by_id;
            self.order.retain(|id| open.contains_key(id));
        }
    }

    fn close_connection(
        &mut self,
        id: ConnectionId,
        at: Timestamp,
        cause: CloseCause,
        out: &mut Vec<Event>,
    ) {
        if let Some(key) = self.by_id.get(&id).cloned() {
            self.close(&key, at, cause, out);
        }
    }

    fn close(&mut self, key: &Key, at: Timestamp, cause: CloseCause, out: &mut Vec<Event>) {
        let Some(mut tracked) = self.connections.remove(key) else { return };
        self.by_id.remove(&tracked.id);
        let ended = tracked.ended(key);
        if !key.path.is_empty() {
            self.asked_in.remove(&key.ends);
        }
        if let Some(path) = tracked.answers_in.take() {
            let answers = Key { path, ends: key.ends };
            self.closed.remember(&answers, ended);
            self.answers.remove(&answers);
        }
        self.closed.remember(key, ended);
        out.push(Event::Closed { connection: tracked.id, at, cause });
    }
}

#[cfg(test)]
mod tests;
