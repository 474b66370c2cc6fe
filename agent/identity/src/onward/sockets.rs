//! Who listens where: sockets by their inode numbers, which are the same in every namespace.

use std::{collections::HashSet, fs, path::Path};

use super::MAX_DESCRIPTORS;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// State `TCP_LISTEN` (net/tcp_states.h).
const LISTEN: &str = "0A";

/// The listening sockets in the text of `/proc/PID/net/tcp` or `tcp6` (`proc_pid_net(5)`).
pub(super) fn listening(text: &str) -> impl Iterator<Item = Listener> {
    text.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let &[_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        let (_, port) = local.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTEN).then_some(Listener { port, inode: inode.parse().ok()? })
    })
}

/// The inode numbers of a process's sockets; none if it may not be looked at.
pub(super) fn of_process(process: &Path) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return HashSet::new() };
    let links =
        entries.take(MAX_DESCRIPTORS).filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}
