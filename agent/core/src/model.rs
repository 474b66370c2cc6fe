//! The words of hopsight: what is observed of a connection and what is said about it.
//!
//! Every enum here is part of the agent's public vocabulary: its `snake_case` name is the value in
//! JSON, the value of a metric label and the word in a table. Nothing here performs I/O.

mod address;
mod hex_bytes;
mod library;
mod reason;
mod session_name;
mod word;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub use address::{address_text, canonical};
pub use hex_bytes::hex;
pub use library::{LibraryEvent, LibraryObservation};
pub use reason::Reason;
use serde::{Deserialize, Serialize};
pub use session_name::{SessionName, key_names, keyed_hash};
pub use word::Word;

/// Declares an enum whose variants have one spelling everywhere: JSON, metric labels and tables.
#[macro_export]
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in JSON, metric labels and tables.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
vocabulary! {
    /// How a hop is protected.
    Security {
        /// Both ends presented a certificate, and the client proved possession of its key.
        Mtls => "mtls",
        /// The server is authenticated by certificate, the client is not.
        Tls => "tls",
        /// Application bytes crossed the connection without TLS, or under a cipher suite of TLS that
        /// encrypts nothing.
        Plaintext => "plaintext",
        /// Not established; [`Reason`] says why.
        Unknown => "unknown",
    }
}

vocabulary! {
    /// What the client did about client authentication (RFC 8446 section 4.3.2, RFC 5246 section 7.4.4).
    ClientAuth {
        /// A non-empty Certificate and a CertificateVerify were sent.
        Presented => "presented",
        /// A CertificateRequest was answered with an empty Certificate.
        RequestedNotPresented => "requested_not_presented",
        /// The server sent no CertificateRequest.
        NotRequested => "not_requested",
        /// Not established.
        Unknown => "unknown",
    }
}

vocabulary! {
    /// How the handshake ended.
    Outcome {
        /// The server showed that it accepted the handshake: up to TLS 1.2 by its Finished, where
        /// the client finishes last by what it sent after that (for plaintext: bytes were exchanged).
        Established => "established",
        /// The peer refused our certificate, or the absence of one.
        Rejected => "rejected",
        /// Any other handshake failure.
        Failed => "failed",
        /// Neither acceptance nor refusal was seen; [`Reason`] says why.
        Incomplete => "incomplete",
    }
}

vocabulary! {
    /// What a verdict rests on, strongest last so that `Ord` compares strength.
    Evidence {
        /// Nothing.
        None => "none",
        /// The full handshake that began the session (in TLS 1.3: the last one of the hop), which this
        /// connection resumed.
        Carried => "carried",
        /// TLS 1.3 record lengths.
        Inferred => "inferred",
        /// Plaintext bytes on the wire: TLS up to 1.2, or an application protocol in the clear.
        Wire => "wire",
        /// The decrypted handshake as the proxy's TLS library hashed it.
        Library => "library",
    }
}

vocabulary! {
    /// Whether the proxy checked the upstream's certificate.
    ServerVerified {
        /// Chain verified, and a failure would have ended the connection.
        Yes => "yes",
        /// Verification failed, or was off.
        No => "no",
        /// Not established.
        Unknown => "unknown",
    }
}

/// Nanoseconds on the clock of the event source: `CLOCK_MONOTONIC` live, the capture's own
/// clock (Unix epoch) in replay. Only differences are meaningful to the core.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Identifies one TCP connection for as long as the agent runs: the kernel's socket cookie live,
/// a running number in replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// Direction of bytes on a connection. The proxy is always the TLS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the proxy to the upstream (`egress` in the kernel).
    ToServer,
    /// From the upstream to the proxy (`ingress` in the kernel).
    ToClient,
}

impl Direction {
    /// 0 for [`Direction::ToServer`], 1 for [`Direction::ToClient`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// The process that opened a connection, as the kernel saw it at `connect(2)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group id) in the agent's pid namespace.
    pub pid: u32,
    /// `comm` of the connecting thread, at most 15 bytes.
    pub name: Arc<str>,
    /// Inode number of its cgroup v2 directory; 0 where the kernel did not say.
    pub cgroup_id: u64,
}

/// Who opened the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A process of this machine.
    Process(Process),
    /// A packet capture, which knows no processes.
    PacketCapture,
}

/// How much of a connection's beginning the source saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// From the TCP handshake on.
    Seen,
    /// Joined later; the first bytes seen are not the first bytes sent.
    MidStream,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseCause {
    /// The TCP connection was closed, or reset by nobody knows whom.
    Closed,
    /// This side reset the TCP connection.
    ResetBy(Direction),
    /// `connect` failed; there never was a connection.
    ConnectFailed,
    /// The source ended (end of a capture file, agent stopping).
    SourceEnded,
}

/// One observation from a capture source. `at` is on the source's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A watched process called `connect`, or a capture shows a new connection.
    Opened {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When.
        at: Timestamp,
        /// Who.
        origin: Origin,
        /// Destination as the process named it, before any service NAT.
        destination: SocketAddr,
        /// Whether the beginning will be seen.
        beginning: Beginning,
    },
    /// The TCP connection is established; addresses are those on the wire.
    Established {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When.
        at: Timestamp,
        /// The proxy's end.
        local: SocketAddr,
        /// The upstream's end, after service NAT where that rewrites the socket.
        remote: SocketAddr,
    },
    /// The connection's packets are inside of something else; said once, after the opening.
    Inside {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When.
        at: Timestamp,
        /// What, outermost first, such as `vlan:100/vxlan:7`.
        tunnel: Arc<str>,
    },
    /// Payload bytes of one TCP segment (GSO/GRO merged ones included).
    Segment {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When it passed the hook.
        at: Timestamp,
        /// Which way it went.
        direction: Direction,
        /// Offset of its first byte from the first payload byte of this direction, modulo 2^32.
        offset: u32,
        /// Payload length of the segment; larger than `bytes` where the capture was capped.
        payload_len: u32,
        /// What its sender had received when it sent this: an offset in the other direction, modulo
        /// 2^32 (the acknowledgement number of TCP). `None` where the source does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acked: Option<u32>,
        /// The captured beginning of the payload; hexadecimal in recorded event files.
        #[serde(with = "hex_bytes")]
        bytes: Vec<u8>,
    },
    /// One side will send no more (FIN); bytes before `offset` may still be missing.
    Fin {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When.
        at: Timestamp,
        /// The side that finished.
        direction: Direction,
        /// Offset after its last byte, as in `Segment`.
        offset: u32,
    },
    /// The connection ended.
    Closed {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When.
        at: Timestamp,
        /// Why.
        cause: CloseCause,
    },
    /// Observations of this connection were lost before this moment (the kernel's ring buffer was full,
    /// or a packet could not be read): what is missing was not absent.
    Lost {
        /// Which.
        #[serde(alias = "flow")]
        connection: ConnectionId,
        /// When the loss was reported.
        at: Timestamp,
    },
    /// A watched process began when the source watched already; said before its first connection.
    Began {
        /// Its process id (thread group id) in the agent's pid namespace.
        pid: u32,
        /// Whose sessions it may have inherited.
        #[serde(default)]
        descent: Descent,
        /// When.
        at: Timestamp,
    },
    /// A TLS library of a watched process showed part of a handshake.
    Library(LibraryEvent),
}

/// Whose memory a process began with that has opened connections itself, and so which sessions it may
/// have inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descent {
    /// That of these processes, the nearest first: they are its parent, and those above.
    From(Vec<u32>),
    /// Of nobody, but it was made just after this one had ended, by the same parent: it goes on in its
    /// place, with the memory that processes of the parent share.
    InPlaceOf(u32),
    /// It may be that of a process which has ended by now, or is no ancestor any more.
    Unknown,
}

impl Default for Descent {
    /// Of nobody.
    fn default() -> Self {
        Self::From(Vec::new())
    }
}

impl Event {
    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Opened { at, .. }
            | Self::Established { at, .. }
            | Self::Inside { at, .. }
            | Self::Segment { at, .. }
            | Self::Fin { at, .. }
            | Self::Lost { at, .. }
            | Self::Closed { at, .. }
            | Self::Began { at, .. } => *at,
            Self::Library(event) => event.at,
        }
    }
}
