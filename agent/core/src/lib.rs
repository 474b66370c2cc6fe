//! The pure core of hopsight: from bytes in order to what is said of a connection and of a hop.
//!
//! Nothing here knows a clock, a file, a socket or async. Time comes with events, files come
//! through traits. That is why replay gives the verdicts that live capture gives, and why every
//! prefix of a recorded handshake can be tested.

#![cfg_attr(
    test,
    allow(
        clippy::allow_attributes,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests read fixtures"
    )
)]

pub mod audit;
pub mod collections;
pub mod health;
pub mod heard;
pub mod hops;
pub mod model;
pub mod pipeline;
pub mod policy;
pub mod report;
pub mod stream;
pub mod tls;
pub mod verdict;
pub mod workload;
