//! How much the pipeline keeps, and for how long.

use std::time::Duration;

/// Limits of the pipeline; everything it keeps is bounded by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections tracked at once; beyond it the oldest is given up as `evicted`.
    pub max_connections: usize,
    /// Most heap bytes held for the streams of all connections; beyond it the oldest is given up as
    /// `evicted`.
    pub max_stream_bytes: usize,
    /// Bytes used per direction of a connection.
    pub bytes_per_direction: u64,
    /// Bytes held per direction after a gap.
    pub reorder_window: usize,
    /// From a connection's first byte until its handshake is given up as `timeout`. A client that may
    /// have finished a TLS 1.3 handshake is waited for until the connection ends: pools hold spare
    /// connections.
    pub handshake_timeout: Duration,
    /// How long a decided verdict waits for its outcome and for the library's last word.
    pub settle_grace: Duration,
    /// Most sessions remembered by name, and most hops whose full handshake is remembered for sessions
    /// without one.
    pub max_sessions: usize,
    /// Age after which a full handshake is no longer carried to sessions without a name.
    pub session_max_age: Duration,
    /// Most library handshakes kept.
    pub max_transcripts: usize,
    /// Age after which a library handshake without a connection is given up.
    pub transcript_max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 262_144,
            max_stream_bytes: 256 << 20,
            bytes_per_direction: (512 + 64) * 1024,
            reorder_window: 64 * 1024,
            handshake_timeout: Duration::from_secs(30),
            settle_grace: Duration::from_secs(1),
            max_sessions: 65_536,
            session_max_age: Duration::from_hours(24),
            max_transcripts: 16_384,
            transcript_max_age: Duration::from_secs(30),
        }
    }
}
