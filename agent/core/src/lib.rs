//! The pure core of hopsight: from bytes in order to what is said of a connection.
//!
//! Nothing here knows a clock, a file, a socket or async; time comes with events. That is why replay
//! gives the verdicts that live capture gives, and why every prefix of a recorded handshake can be
//! tested.

#![cfg_attr(
    test,
    allow(
        clippy::allow_attributes,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests read fixtures"
    )
)]

pub mod collections;
pub mod health;
pub mod heard;
pub mod model;
pub mod pipeline;
pub mod report;
pub mod stream;
pub mod tls;
pub mod verdict;
