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
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use crate::foreign_root::ForeignRoot;
use hopsight_posture::{
    hops::onward::{ContinuesEncrypted, Onward},
    policy::files::ConfigFiles as _,
};
use hopsight_system::{
    foreign::{self, Lane},
    names::{Processes, Watched},
    readers::{Answer, Readers},
};

mod routes;
mod sockets;

/// How long an answer stands.
const ANSWER_STANDS_FOR: Duration = Duration::from_mins(1);
/// How long the sockets of the mesh's proxies are taken to be the same.
const SOCKETS_STAND_FOR: Duration = Duration::from_secs(10);
/// Most answers that are remembered, and of them most for one network namespace.
const MAX_ANSWERS: usize = 16_384;
const MAX_OF_ONE: usize = 1_024;
/// Most bytes read of one file.
const MAX_BYTES: u64 = 4 << 20;
/// Most descriptors looked at of one process, and of all that are called like a mesh's proxy.
const MAX_DESCRIPTORS: usize = 16_384;
const MAX_DESCRIPTORS_IN_ALL: usize = 65_536;

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

/// Where a process connects to.
type Destination = (IpAddr, u16);

/// Finds it, and remembers what was found for a while.
#[derive(Debug, Default)]
pub struct OnwardFinder {
    /// By the network namespace of the process.
    answers: HashMap<PathBuf, HashMap<Destination, Remembered>>,
    meshes: Arc<Mutex<Meshes>>,
}

#[derive(Debug)]
struct Remembered {
    asked_at: Instant,
    answer: Result<Option<Onward>, Answer<Option<Onward>>>,
}

/// The mesh's proxies of this machine.
#[derive(Debug, Default)]
struct Meshes {
    processes: Processes,
    /// Their sockets, by name and process.
    sockets: Option<(Instant, Arc<[MeshProcess]>)>,
}

#[derive(Clone, Debug)]
struct MeshProcess {
    pid: u32,
    name: String,
    sockets: HashSet<u64>,
}

impl OnwardFinder {
    /// What takes a plaintext connection of process `pid` to `destination` further; `None` where
    /// nothing is known that would encrypt it. To be asked again while it is being found out.
    pub fn find(
        &mut self,
        pid: u32,
        destination: SocketAddr,
        readers: &Readers,
    ) -> Poll<Option<Onward>> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let Ok(namespace) = fs::read_link(process.join("ns/net")) else { return Poll::Ready(None) };
        let is_fresh = |known: &Remembered| known.asked_at.elapsed() < ANSWER_STANDS_FOR;
        if self.answers.values().map(HashMap::len).sum::<usize>() >= MAX_ANSWERS {
            self.answers.values_mut().for_each(|known| known.retain(|_, known| is_fresh(known)));
            self.answers.retain(|_, known| !known.is_empty());
        }
        let has_room = self.answers.values().map(HashMap::len).sum::<usize>() < MAX_ANSWERS;
        let key = (destination.ip(), destination.port());
        let theirs = self.answers.entry(namespace).or_default();
        if let Some(known) = theirs.get_mut(&key).filter(|known| is_fresh(known)) {
            return known.look();
        }
        if !has_room || theirs.len() >= MAX_OF_ONE {
            theirs.retain(|_, known| is_fresh(known));
            if !has_room || theirs.len() >= MAX_OF_ONE {
                return Poll::Ready(None);
            }
        }
        let meshes = Arc::clone(&self.meshes);
        let find = move || {
            tunnel(&process, destination.ip()).or_else(|| {
                let proxies = Meshes::proxies(&meshes);
                mesh_proxy(&process, pid, destination, &proxies)
            })
        };
        let asked = Lane::of_process(pid).ok().and_then(|whose| readers.ask(whose, find));
        let Some(answer) = asked else { return Poll::Ready(None) };
        theirs.insert(key, Remembered { asked_at: Instant::now(), answer: Err(answer) });
        Poll::Pending
    }
}

impl Remembered {
    fn look(&mut self) -> Poll<Option<Onward>> {
        if let Err(answer) = &self.answer {
            match answer.poll() {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => self.answer = Ok(answer.flatten()),
            }
        }
        Poll::Ready(self.answer.as_ref().ok().cloned().flatten())
    }
}

impl Meshes {
    fn proxies(shared: &Mutex<Self>) -> Arc<[MeshProcess]> {
        let mut meshes = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, proxies)) = &meshes.sockets
            && at.elapsed() < SOCKETS_STAND_FOR
        {
            return Arc::clone(proxies);
        }
        let names = MESHES.map(|mesh| mesh.process.to_owned()).to_vec();
        let found = meshes.processes.running(&Watched::Named(names)).into_iter();
        let mut left = MAX_DESCRIPTORS_IN_ALL;
        let processes = found.map(|(pid, name)| {
            let sockets = sockets::of_process(&PathBuf::from(format!("/proc/{pid}")), &mut left);
            MeshProcess { pid, name, sockets }
        });
        let proxies: Arc<[_]> = processes.collect();
        meshes.sockets = Some((Instant::now(), Arc::clone(&proxies)));
        proxies
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
