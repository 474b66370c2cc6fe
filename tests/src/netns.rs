//! A network namespace at the other end of a veth pair.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process::id,
};

use anyhow::Context as _;

use crate::{place::Place, process::run, reservation::Reservation};

const PREFIX: &str = "hopsight-";

/// A network namespace that is deleted, and with it the veth pair, when this is dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    _block: Reservation,
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
        remove_abandoned();
        // An abandoned one may still have its addresses.
        let is_free = |block| {
            let shown = run("ip", ["addr", "show", "to", &format!("198.18.{block}.0/24")]);
            shown.is_ok_and(|addresses| addresses.is_empty())
        };
        let reserved = Reservation::of("netns", 0..256, is_free)?;
        let block = u8::try_from(reserved.number).context("stay in 198.18.0.0/16")?;
        let name = format!("{PREFIX}{}-{block}", id());
        // Interface names have at most 15 bytes.
        let (near_link, far_link) = (format!("hs{}n{block}", id()), format!("hs{}f{block}", id()));
        let (near, far) = (Ipv4Addr::new(198, 18, block, 1), Ipv4Addr::new(198, 18, block, 2));
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name: name.clone(), _block: reserved, near, far };
        ip(&format!("link add {near_link} type veth peer name {far_link} netns {name}"))?;
        ip(&format!("addr add {near}/30 dev {near_link}"))?;
        ip(&format!("link set {near_link} up"))?;
        ip(&format!("-n {name} addr add {far}/30 dev {far_link}"))?;
        ip(&format!("-n {name} link set {far_link} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(namespace)
    }

    /// It as the place of a program.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::behind(["ip", "netns", "exec", &self.name].map(OsString::from), false)
    }

    /// The namespace itself, for a thread that enters it (setns(2)).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> anyhow::Result<File> {
        let path = Path::new("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("open {}", path.display()))
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
