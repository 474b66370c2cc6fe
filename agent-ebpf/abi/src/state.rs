//! What the kernel programs keep, and what the agent tells them.

use crate::wire::{Bytes16, wire_struct};

/// A task's name as the kernel stores it: at most 15 bytes, padded with zeros.
pub type Comm = Bytes16;

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// Watch every process, whatever its name.
    pub const WATCH_ALL: u32 = 1;
}

wire_struct! {
    /// Constants of the programs, set before they are loaded.
    Config: 16 {
        /// Bytes per direction that may leave the kernel of a connection that has shown no TLS.
        classify_budget: u32,
        /// Bytes per direction that may leave the kernel once TLS began, beside the flights of the
        /// handshake.
        handshake_budget: u32,
        /// Bytes per direction that may leave the kernel up to the end of such a flight.
        flight_budget: u32,
        /// Bits of [`config_flags`].
        flags: u32,
    }
}

wire_struct! {
    /// What a watched socket carries (`BPF_MAP_TYPE_SK_STORAGE`).
    ///
    /// Both hooks of a connection may run at the same time on two processors: the hook of a direction
    /// writes the entries of its direction, and other fields are only ever set to 1, so that no
    /// write can undo another. Socket state changes count as the direction to the server, whose
    /// packets leave under the same socket lock.
    ConnectionState: 120 {
        /// Socket cookie.
        cookie: u64,
        /// Inode number of the process's cgroup v2 directory.
        cgroup_id: u64,
        /// Process (thread group) id.
        tgid: u32,
        /// Thread id.
        tid: u32,
        /// Name the process is watched under.
        comm: Comm,
        /// Destination given to `connect`.
        destination_ip: Bytes16,
        /// Sequence number of the first payload byte, per direction.
        base: [u32; 2],
        /// Bytes delivered under the current budget, per direction.
        delivered: [u32; 2],
        /// Offset after the last payload byte seen, per direction.
        sent: [u32; 2],
        /// Bytes delivered up to the end of the last flight of the handshake, per direction.
        in_flights: [u32; 2],
        /// [`Self::sent`] of the other direction when this one last sent.
        heard: [u32; 2],
        /// Port of the destination.
        destination_port: u16,
        /// 1 once [`Self::base`] of that direction is known.
        base_known: [u8; 2],
        /// 1 once a segment of that direction was cut by the budget.
        exhausted: [u8; 2],
        /// 1 when the socket is older than the agent.
        mid_stream: u16,
        /// 1 once TLS began: the handshake budget counts.
        tls: u16,
        /// 1 once the agent wants no more bytes.
        done: u16,
        /// 1 while a loss has not been reported, per direction.
        lost: [u8; 2],
        /// 1 once that side reset the connection.
        reset: [u8; 2],
        /// How many turns that side took once TLS began.
        turns: [u8; 2],
        /// 1 once the server's first flight proved so short that it asked for another ClientHello.
        retried: u16,
        /// Zero.
        reserved: u32,
    }
}

/// What the programs failed to deliver: indices of the per-CPU array `LOST`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// An opened record found no room: the connection is not watched.
    Opened = 0,
    /// An established record found no room.
    Established = 1,
    /// A segment, or the rest of one, found no room.
    Segment = 2,
    /// A fin record found no room.
    Fin = 3,
    /// A closed record found no room.
    Closed = 4,
    /// A packet's bytes could not be read.
    Unreadable = 5,
    /// A socket's storage could not be made: the connection is not watched.
    Storage = 6,
    /// A direction of a connection reached its budget (not a failure).
    BudgetReached = 7,
}

impl Lost {
    /// Every reason, in index order.
    pub const ALL: [Self; 8] = [
        Self::Opened,
        Self::Established,
        Self::Segment,
        Self::Fin,
        Self::Closed,
        Self::Unreadable,
        Self::Storage,
        Self::BudgetReached,
    ];

    /// Which record is missing, as [`Kind::as_str`](crate::Kind::as_str) has it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Opened | Self::Storage => "opened",
            Self::Established => "established",
            Self::Segment | Self::Unreadable | Self::BudgetReached => "segment",
            Self::Fin => "fin",
            Self::Closed => "closed",
        }
    }

    /// Why it is missing, as in metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Opened | Self::Established | Self::Segment | Self::Fin | Self::Closed => {
                "ring_full"
            }
            Self::Unreadable => "unreadable",
            Self::Storage => "no_storage",
            Self::BudgetReached => "budget_reached",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_config_survive_the_round_trip() {
        let state = ConnectionState {
            cookie: 1,
            comm: Bytes16::new(*b"haproxy\0\0\0\0\0\0\0\0\0"),
            base: [u32::MAX, 2],
            base_known: [1, 0],
            lost: [0, 1],
            ..ConnectionState::default()
        };
        let config = Config {
            classify_budget: 2048,
            handshake_budget: 65536,
            flight_budget: 524_288,
            flags: 1,
        };
        assert_eq!(ConnectionState::from_bytes(&state.to_bytes()), Some(state));
        assert_eq!(Config::from_bytes(&config.to_bytes()), Some(config));
        assert_eq!(ConnectionState::from_bytes(&state.to_bytes()[1..]), None);
    }

    #[test]
    fn reasons_are_numbered_in_order() {
        for (index, reason) in (0u32..).zip(Lost::ALL) {
            assert_eq!(reason as u32, index, "{reason:?}");
        }
    }
}
