//! The probes inside OpenSSL, against real programs.

mod clients;
mod cost;
mod lifecycle;
mod sequences;
mod support;
