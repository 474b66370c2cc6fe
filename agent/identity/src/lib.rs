//! Who the two ends of a hop are, as the machine tells: file systems of other processes, nginx
//! instances, the Kubernetes API and the container runtime.

pub mod cri;
pub mod foreign_root;
pub mod kubernetes;
pub mod nginx;
pub mod onward;
pub mod source_state;
pub mod sources;
