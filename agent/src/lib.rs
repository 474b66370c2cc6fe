//! hopsight: which upstream hops of a reverse proxy are mutual TLS, one-way TLS or plaintext.
//!
//! `capture → flow → tls → verdict → policy → export`; everything between the first and the last
//! arrow is pure: no clock, no I/O, no async.

pub mod capture;
pub mod cli;
mod collections;
pub mod compliance;
pub mod config;
pub mod export;
pub mod flow;
mod http_client;
pub mod identity;
mod memory;
pub mod model;
mod pem;
pub mod pipeline;
pub mod policy;
pub mod preflight;
pub mod privileges;
pub mod replay;
pub mod report;
pub mod run;
pub mod state;
pub mod tls;
pub mod verdict;
