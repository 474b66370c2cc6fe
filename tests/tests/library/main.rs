//! The probes inside OpenSSL, against real programs.

mod cost;
mod sequences;
mod support;
