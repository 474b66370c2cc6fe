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

/// The inode numbers of a process's sockets; none if it may not be looked at. At most `left`
/// descriptors are looked at, which they use up.
pub(super) fn of_process(process: &Path, left: &mut usize) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return HashSet::new() };
    let links = entries.take(MAX_DESCRIPTORS.min(*left)).map(|entry| {
        *left -= 1;
        fs::read_link(entry.ok()?.path()).ok()
    });
    let inodes = links.flatten().filter_map(|link| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    inodes.collect()
}
