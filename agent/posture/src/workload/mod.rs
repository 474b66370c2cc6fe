//! Who the proxies are: container, pod and unit by their cgroup, and the tables of what Kubernetes
//! says about pods, Services, Gateways and the policies of meshes.

pub mod cgroup;
pub mod gateway;
pub mod istio;
pub mod leg;
pub mod linkerd;
pub mod objects;
pub mod pod;
pub mod pods;
pub mod selector;
pub mod services;
pub mod standing;
