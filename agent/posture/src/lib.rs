//! The posture of hops: what they are, from what is said of their connections, and how that stands
//! against what their proxies intend and what policy asks.
//!
//! Pure as the core is: nothing here knows a clock, a file, a socket or async. Time comes with
//! events, files come through traits.

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
pub mod hops;
pub mod policy;
pub mod workload;
