//! Who the two ends of a hop are: process, cgroup, container, and the files they were configured
//! with. [`cgroup`] is pure; the rest reads `/proc` and file systems of other processes.

pub mod cgroup;
pub mod foreign_root;
pub mod nginx;
pub mod process;
