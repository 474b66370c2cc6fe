//! What the pipeline counts.

use crate::{stream::reassembly::DropCounts, vocabulary};

vocabulary! {
    /// Why a connection left the table without a certain verdict of its own.
    Eviction {
        /// The table was full.
        TableFull => "table_full",
        /// The streams of all connections held too many bytes.
        Memory => "memory",
        /// The handshake did not end in time.
        Timeout => "timeout",
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections given up.
    pub evicted: Evictions,
    /// Library and wire evidence that disagreed.
    pub evidence_conflicts: u64,
    /// Connections whose library handshake was found.
    pub transcripts_matched: u64,
    /// Captured bytes that reassembly did not use.
    pub reassembly_drops: DropCounts,
    /// Events about connections that are not tracked (any more).
    pub untracked_events: u64,
}

/// Connections given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions([u64; Eviction::ALL.len()]);

impl Evictions {
    /// How many for this reason.
    #[must_use]
    pub const fn of(&self, why: Eviction) -> u64 {
        self.0[why as usize]
    }

    /// Counts one.
    pub const fn count(&mut self, why: Eviction) {
        self.0[why as usize] += 1;
    }
}
