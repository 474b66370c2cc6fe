//! What takes a plaintext connection further, where that may encrypt it: a mesh's proxy on this
//! node, or a tunnel between nodes.
//!
//! What a mesh's proxy does with a connection depends on the other end, which it does not say:
//! `unknown` is all that can be known of it here. WireGuard encrypts every packet that leaves by
//! its interface.
//!
//! Everything comes from `/proc` of the connecting process, so that it is seen from its own network
//! namespace: its routes, its interfaces, and who listens there.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::foreign_root::ForeignRoot;
use hopsight_core::{
    hops::onward::{ContinuesEncrypted, Onward},
    policy::nginx::ConfigFiles as _,
};
use hopsight_system::{
    foreign,
    names::{Processes, Watched},
};

mod routes;
mod sockets;

/// How long an answer stands.
const ANSWER_STANDS_FOR: Duration = Duration::from_mins(1);
/// Most answers that are remembered.
const MAX_ANSWERS: usize = 4_096;
/// Most bytes read of one file.
const MAX_BYTES: u64 = 4 << 20;
/// Most descriptors looked at of one process.
const MAX_DESCRIPTORS: usize = 16_384;

/// A mesh's proxy.
struct Mesh {
    /// Its process.
    process: &'static str,
    /// The ports at which it takes over what others send; any if empty.
    ports: &'static [u16],
}

/// Proxies that take connections of others further.
const MESHES: [Mesh; 3] = [
    // Listens in the namespaces of the pods it serves (istio/ztunnel, in-pod mode).
    Mesh { process: "ztunnel", ports: &[] },
    Mesh { process: "linkerd2-proxy", ports: &[] },
    // Istio's sidecar: Envoy has other uses, but none listens there (istio.io, "Ports used by
    // Istio").
    Mesh { process: "envoy", ports: &[15_001] },
];

/// The network namespace of a process, and where it connects to.
type Question = (PathBuf, IpAddr, u16);

/// Finds it, and remembers what was found for a while.
#[derive(Debug, Default)]
pub struct OnwardFinder {
    answers: HashMap<Question, (Instant, Option<Onward>)>,
    processes: Processes,
    /// The sockets of the mesh's proxies, by name and process.
    sockets: Option<(Instant, Vec<MeshProcess>)>,
}

#[derive(Clone, Debug)]
struct MeshProcess {
    pid: u32,
    name: String,
    sockets: HashSet<u64>,
}

impl OnwardFinder {
    /// What takes a plaintext connection of process `pid` to `destination` further; `None` where
    /// nothing is known that would encrypt it.
    pub fn find(&mut self, pid: u32, destination: SocketAddr) -> Option<Onward> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let namespace = fs::read_link(process.join("ns/net")).ok()?;
        let question = (namespace, destination.ip(), destination.port());
        if let Some((at, answer)) = self.answers.get(&question)
            && at.elapsed() < ANSWER_STANDS_FOR
        {
            return answer.clone();
        }
        let answer = tunnel(&process, destination.ip()).or_else(|| {
            let proxies = self.mesh_processes();
            mesh_proxy(&process, pid, destination, proxies)
        });
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.retain(|_, (at, _)| at.elapsed() < ANSWER_STANDS_FOR);
        }
        if self.answers.len() < MAX_ANSWERS {
            self.answers.insert(question, (Instant::now(), answer.clone()));
        }
        answer
    }

    fn mesh_processes(&mut self) -> &[MeshProcess] {
        let is_fresh =
            self.sockets.as_ref().is_some_and(|(at, _)| at.elapsed() < ANSWER_STANDS_FOR / 6);
        if !is_fresh {
            let names = MESHES.map(|mesh| mesh.process.to_owned()).to_vec();
            let found = self.processes.running(&Watched::Named(names)).into_iter();
            let processes = found.map(|(pid, name)| {
                let sockets = sockets::of_process(&PathBuf::from(format!("/proc/{pid}")));
                MeshProcess { pid, name, sockets }
            });
            self.sockets = Some((Instant::now(), processes.collect()));
        }
        self.sockets.as_ref().map(|(_, found)| found.as_slice()).unwrap_or_default()
    }
}

/// A tunnel that encrypts what leaves by its interface.
fn tunnel(process: &Path, destination: IpAddr) -> Option<Onward> {
    let interface = match destination.to_canonical() {
        IpAddr::V4(address) => routes::v4(&text(&process.join("net/route"))?, address),
        IpAddr::V6(address) => routes::v6(&text(&process.join("net/ipv6_route"))?, address),
    }?;
    // A name from outside that would leave the directory is no interface.
    let is_name = !interface.is_empty() && !interface.contains('/') && !interface.starts_with('.');
    let uevent = Path::new("/sys/class/net").join(&interface).join("uevent");
    let content = ForeignRoot::at(&process.join("root")).ok()?.read(&uevent).ok()?;
    let mut lines = content.split(|byte| *byte == b'\n');
    (is_name && lines.any(|line| line == b"DEVTYPE=wireguard")).then(|| Onward {
        continues_encrypted: ContinuesEncrypted::Yes,
        by: format!("WireGuard interface {interface}").into(),
    })
}

/// A mesh's proxy that listens where the process connects to, or takes over what it sends.
fn mesh_proxy(
    process: &Path,
    pid: u32,
    destination: SocketAddr,
    proxies: &[MeshProcess],
) -> Option<Onward> {
    if proxies.is_empty() {
        return None;
    }
    let files = ["net/tcp", "net/tcp6"].into_iter().filter_map(|name| text(&process.join(name)));
    let listeners: Vec<_> =
        files.flat_map(|text| sockets::listening(&text).collect::<Vec<_>>()).collect();
    let others = proxies.iter().filter(|proxy| proxy.pid != pid);
    let mut found = others.filter_map(|proxy| {
        let mesh = MESHES.iter().find(|mesh| mesh.process == proxy.name)?;
        let own = listeners.iter().filter(|listener| proxy.sockets.contains(&listener.inode));
        let takes_over = |port: u16| mesh.ports.is_empty() || mesh.ports.contains(&port);
        let mut ports = own.map(|listener| listener.port).filter(|port| takes_over(*port));
        let is_direct = destination.ip().to_canonical().is_loopback();
        let port = ports.find(|port| !is_direct || *port == destination.port())?;
        Some((proxy, port))
    });
    let (proxy, port) = found.next()?;
    let by: Arc<str> = format!("{} (process {}, port {port})", proxy.name, proxy.pid).into();
    Some(Onward { continues_encrypted: ContinuesEncrypted::Unknown, by })
}

/// A file's text, cut where it is too long.
fn text(path: &Path) -> Option<String> {
    let bytes = foreign::beginning(path, MAX_BYTES).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
