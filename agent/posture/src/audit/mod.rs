//! What can be handed to an auditor: an account of what agents saw, and whether it is enough.
//!
//! An account is a photograph of the tables of hops of some nodes, with what each agent says of its
//! own watching. Its counts only grow, so that two accounts of one chain say what happened between
//! them ([`period`]). Whether that meets what somebody requires is decided by [`judge`], which
//! never lets pass what it has not looked at.

pub mod account;
pub mod chain;
pub mod coverage;
pub mod judge;
pub mod period;
pub mod refusal;
pub mod require;
#[cfg(test)]
mod tests;
