//! A network namespace at the other end of a veth pair.

use std::{
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    path::Path,
    process::id,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::Context as _;

use crate::process::run;

const PREFIX: &str = "hopsight-";

/// A network namespace that is deleted, and with it the veth pair, when this is dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    /// Our end of the pair.
    pub near: Ipv4Addr,
    /// The namespace's end.
    pub far: Ipv4Addr,
}

impl NetNs {
    /// Makes the namespace and the pair, with addresses of 198.18.0.0/16 (RFC 2544's benchmarking
    /// range, which is routed nowhere).
    ///
    /// # Errors
    /// When `ip` refuses, as it does without CAP_NET_ADMIN.
    pub fn create() -> anyhow::Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        remove_abandoned();
        for _ in 0..u8::MAX {
            let [.., low] = id().to_be_bytes();
            let block = low.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            if run("ip", ["addr", "show", "to", &format!("198.18.{block}.0/24")])?.is_empty() {
                return Self::with_block(block);
            }
        }
        anyhow::bail!("every block of 198.18.0.0/16 is in use")
    }

    fn with_block(block: u8) -> anyhow::Result<Self> {
        let name = format!("{PREFIX}{}-{block}", id());
        // Interface names have at most 15 bytes.
        let (near_link, far_link) = (format!("hs{}n{block}", id()), format!("hs{}f{block}", id()));
        let (near, far) = (Ipv4Addr::new(198, 18, block, 1), Ipv4Addr::new(198, 18, block, 2));
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name: name.clone(), near, far };
        ip(&format!("link add {near_link} type veth peer name {far_link} netns {name}"))?;
        ip(&format!("addr add {near}/30 dev {near_link}"))?;
        ip(&format!("link set {near_link} up"))?;
        ip(&format!("-n {name} addr add {far}/30 dev {far_link}"))?;
        ip(&format!("-n {name} link set {far_link} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(namespace)
    }

    /// The command line that runs `program` in `netns`, or here.
    #[must_use]
    pub fn wrap(netns: Option<&Self>, program: &str, args: &[&str]) -> (OsString, Vec<OsString>) {
        let own = args.iter().map(OsString::from);
        match netns {
            None => (program.into(), own.collect()),
            Some(netns) => {
                let prefix = ["netns", "exec", &netns.name, program].map(OsString::from);
                ("ip".into(), prefix.into_iter().chain(own).collect())
            }
        }
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("cannot delete the network namespace {}: {error:#}", self.name);
        }
    }
}

/// Deletes namespaces of ours whose process is gone (it was killed and could not clean up).
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir("/var/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let gone = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if gone {
            // Another test may be doing the same.
            drop(ip(&format!("netns del {name}")));
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    run("ip", arguments.split(' ')).map(drop).with_context(|| format!("ip {arguments}"))
}
