//! Who the proxies are: container, pod and unit by their cgroup, and the tables of what Kubernetes
//! says about pods, Services and Gateways.

pub mod cgroup;
pub mod gateway;
pub mod pod;
pub mod pods;
pub mod services;
pub mod standing;
