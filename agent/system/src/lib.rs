//! What the machine says about itself: each fact of `/proc` is read in one place.

pub mod clock;
pub mod foreign;
pub mod heart;
pub mod kernel;
pub mod maps;
pub mod names;
pub mod process;
pub mod readers;
