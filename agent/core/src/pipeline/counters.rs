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
    /// Connections given up because the table was full.
    pub evicted_table_full: u64,
    /// Connections given up because the streams held too many bytes.
    pub evicted_memory: u64,
    /// Connections given up because their handshake did not end in time.
    pub evicted_timeout: u64,
    /// Library and wire evidence that disagreed.
    pub evidence_conflicts: u64,
    /// Connections whose library handshake was found.
    pub transcripts_matched: u64,
    /// Captured bytes that reassembly did not use.
    pub reassembly_drops: DropCounts,
    /// Events about connections that are not tracked (any more).
    pub untracked_events: u64,
}
