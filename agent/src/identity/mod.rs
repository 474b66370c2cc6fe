//! Who the two ends of a hop are: process, cgroup, container, pod, service, and the files they were
//! configured with. [`cgroup`], [`pod`] and the tables of [`kubernetes`] are pure; the rest reads
//! `/proc`, file systems of other processes, the Kubernetes API and the container runtime.

pub mod cgroup;
pub mod cri;
pub mod foreign_root;
pub mod kubernetes;
pub mod nginx;
pub mod pod;
pub mod process;
pub mod sources;
