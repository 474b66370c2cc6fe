//! The kernel programs on this kernel: real sockets and packets, no proxy.
//!
//! Every test watches a thread name of its own, so that they run side by side and beside anything
//! else on the machine.

mod harness;

mod budgets;
mod delivery;
mod lifecycle;
mod names;
mod namespaces;
mod older_connections;
mod preflight;
