//! What became of a file's packets, and how it is told.

use std::collections::BTreeMap;

use super::packet::Unread;

/// Kinds of unread packets that are counted apart: what a file claims is not bounded otherwise.
const MAX_KINDS: usize = 64;

/// What became of a file's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Packets (or recorded events) read.
    pub read: u64,
    /// Of these, without a TCP segment that could be read.
    pub not_tcp: u64,
    /// Of those, packets in which TCP may be, by why they were not looked into.
    pub unread: BTreeMap<Unread, u64>,
    /// Unread packets of further kinds.
    pub unread_otherwise: u64,
    /// TCP segments without payload (acknowledgements, resets) of connections of which nothing else
    /// was seen; no verdict is given on those.
    pub silent: u64,
    /// Options of a pcapng file that could not be read and were passed over.
    pub odd_options: u64,
    /// Why reading stopped before the end of the file, if it did.
    pub damaged: Option<String>,
}

impl ReplayCounts {
    /// Counts a packet that was not looked into.
    pub fn add_unread(&mut self, why: Unread, packets: u64) {
        if packets == 0 {
            return;
        }
        self.not_tcp += packets;
        if self.unread.len() < MAX_KINDS || self.unread.contains_key(&why) {
            *self.unread.entry(why).or_default() += packets;
        } else {
            self.unread_otherwise += packets;
        }
    }

    /// What a reader of the verdicts has to know about what has none, such as `12 of 40 packets are
    /// inside GTP-U, which is not read; link type 239 is not read (3 packets)`; `None` where there
    /// is nothing to tell.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let mut tell = |count: u64, words: &dyn Fn(u64, bool) -> String| {
            if count > 0 {
                parts.push(words(count, parts.is_empty()));
            }
        };
        for (why, count) in &self.unread {
            tell(*count, &|count, first| why.told(count, self.read, first));
        }
        let of_all = |count: u64, first: bool| {
            if first { format!("{count} of {} packets", self.read) } else { count.to_string() }
        };
        tell(self.unread_otherwise, &|count, first| {
            format!("{} are of further kinds that are not read", of_all(count, first))
        });
        tell(self.silent, &|count, first| {
            let packets = of_all(count, first);
            format!("{packets} are of TCP connections of which no payload and no opening was seen")
        });
        tell(self.odd_options, &|count, _| {
            format!("{count} options of interfaces cannot be read and are passed over")
        });
        if parts.is_empty() && self.read > 0 && self.not_tcp == self.read {
            parts.push(format!("none of {} packets carries TCP", self.read));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
