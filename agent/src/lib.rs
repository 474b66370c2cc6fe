//! hopsight: which upstream hops of a reverse proxy are mutual TLS, one-way TLS or plaintext.
//!
//! `capture → flow → tls → verdict → policy → export`; everything between the first and the last
//! arrow is pure: no clock, no I/O, no async.

pub mod capture;
pub mod model;
pub mod preflight;
pub mod report;
