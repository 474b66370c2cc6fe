//! Everything the kernel programs of hopsight share with its agent: the records of the ring
//! buffer, the state kept in each watched socket, the configuration and the loss counters.
//!
//! A record is a [`Header`], then the body of its [`Kind`]. Addresses are 16 bytes, IPv4 in its
//! IPv6-mapped form (RFC 4291 section 2.5.5.2).
#![no_std]

mod library;
mod record;
mod state;
mod wire;

pub use library::{
    Cookie, ERR_LIB_SSL, Library, LibraryCount, MAX_HOOKS, Observation, Part, Stack,
    TRANSCRIPT_CAP, VerifyOffsets, sent_by,
};
pub use record::{
    Closed, DecodeError, Established, Fin, Header, Kind, Opened, Record, Segment, direction, flags,
};
pub use state::{Comm, Config, ConnectionState, Lost, config_flags};
pub use wire::{Bytes16, Field};
