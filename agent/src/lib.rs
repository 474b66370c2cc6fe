//! The hopsight agent: everything put together. This is the only crate that knows all the others.

pub mod cli;
pub mod compliance;
pub mod config;
pub mod preflight;
pub mod privileges;
pub mod run;
