//! Puts IP datagrams together from their fragments.

use std::{collections::VecDeque, net::IpAddr};

use etherparse::{IpFragOffset, IpNumber, defrag::IpDefragBuf};

use super::Path;
use hopsight_core::collections::HashMap;

/// Datagrams that wait for their other parts; each holds up to 64 KiB.
const MAX_WAITING: usize = 64;

/// A part of an IP datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// What it is inside of.
    pub path: Path,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What the datagram carries.
    pub protocol: IpNumber,
    /// The same for every part.
    pub identification: u32,
    /// Place of this part.
    pub offset: IpFragOffset,
    /// It is not the last one.
    pub more: bool,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A whole datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What it is inside of.
    pub path: Path,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: IpNumber,
    /// The bytes.
    pub payload: Vec<u8>,
}

type Key = (Path, IpAddr, IpAddr, IpNumber, u32);

#[derive(Debug)]
struct Waiting {
    parts: IpDefragBuf,
    packets: u64,
}

/// Datagrams of which parts were seen.
#[derive(Debug, Default)]
pub struct Fragments {
    waiting: HashMap<Key, Waiting>,
    /// By arrival of the first part; also keys of those that are whole by now.
    order: VecDeque<Key>,
    given_up: u64,
}

impl Fragments {
    /// Takes in a part and returns the datagram if that was the last one missing.
    pub fn add(&mut self, fragment: Fragment<'_>) -> Option<Datagram> {
        let Fragment { path, source, destination, protocol, identification, .. } = fragment;
        let key = (path, source, destination, protocol, identification);
        if !self.waiting.contains_key(&key) {
            self.make_room();
            self.order.push_back(key.clone());
        }
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| Waiting {
            parts: IpDefragBuf::new(protocol, Vec::new(), Vec::new()),
            packets: 0,
        });
        waiting.packets += 1;
        // A part that contradicts the others is left out: the datagram may become whole without.
        waiting.parts.add(fragment.offset, fragment.more, fragment.payload).ok()?;
        if !waiting.parts.is_complete() {
            return None;
        }
        let (payload, _) = self.waiting.remove(&key)?.parts.take_bufs();
        let (path, source, destination, protocol, _) = key;
        Some(Datagram { path, source, destination, protocol, payload })
    }

    /// Packets that were parts of datagrams which never became whole.
    pub fn unread(&self) -> u64 {
        self.given_up + self.waiting.values().map(|waiting| waiting.packets).sum::<u64>()
    }

    fn make_room(&mut self) {
        while self.order.len() >= MAX_WAITING {
            let oldest = self.order.pop_front().and_then(|key| self.waiting.remove(&key));
            self.given_up += oldest.map_or(0, |oldest| oldest.packets);
        }
    }
}
