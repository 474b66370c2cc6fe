//! All probes of a file together (Linux 6.6).
//!
//! The kernel takes a link of many places off at once: it replaces their breakpoints one after the other
//! and then waits, some 0.1 s, for what runs in them. A probe that is attached alone waits alone, and
//! all wait in one line; a process that is killed in that time leaves breakpoints behind.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use anyhow::Context as _;
use aya::{Ebpf, util::KernelVersion};
use hopsight_abi::{Cookie, MAX_HOOKS, VerifyOffsets};

use super::{
    placement::{Hook, ProbePoint},
    raw::{self, AttachedBy, Loaded},
};

/// The program that is attached; it goes on as that of the place's hook.
const HIT: &str = "hit";
/// The program for [`Hook::VerifyResult`] where it is known what to read.
const VERIFY_ENFORCED: &str = "verify_enforced";
/// Where [`HIT`] finds it, after those of [`Hook::ALL`].
const VERIFY_ENFORCED_ENTRY: usize = Hook::ALL.len();

const _: () = assert!(VERIFY_ENFORCED_ENTRY < MAX_HOOKS as usize);

/// The programs of all hooks, in the kernel.
pub struct Programs(Loaded);

/// Probes on one file; dropping them removes them. (The fields are dropped in this order.)
#[derive(Debug)]
pub struct Link {
    /// Those that show messages: removed first, for of a handshake that is seen from its first message to
    /// its last everything else has to be seen as well.
    _messages: Option<OwnedFd>,
    _others: Option<OwnedFd>,
}

impl Programs {
    /// Gives the programs to the kernel; see [`raw::load`]. `None` where it knows no such links.
    ///
    /// # Errors
    /// When it refuses one; the message holds the verifier's.
    pub fn load(ebpf: &Ebpf) -> anyhow::Result<Option<Self>> {
        if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
            return Ok(None);
        }
        let hooks = || Hook::ALL.iter().map(|hook| hook.as_str()).chain([VERIFY_ENFORCED]);
        let loaded = raw::load(ebpf, hooks().chain([HIT]), AttachedBy::OneLink)?;
        if !is_supported(loaded[HIT].as_fd()) {
            return Ok(None);
        }
        let entries = ebpf.map("HOOKS").and_then(raw::data).context("find map HOOKS")?;
        for (entry, hook) in (0..).zip(hooks()) {
            raw::set_entry(entries.fd().as_fd(), entry, loaded[hook].as_fd())
                .with_context(|| format!("let the library probe {hook} be found"))?;
        }
        Ok(Some(Self(loaded)))
    }

    /// The programs, by their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.0.iter().map(|(name, program)| (*name, program.as_fd()))
    }

    /// Attaches to every one of `points` of a file, in all processes.
    ///
    /// # Errors
    /// When the kernel refuses; nothing stays attached then.
    pub fn attach(
        &self,
        file: BorrowedFd<'_>,
        points: &[ProbePoint],
        offsets: Option<VerifyOffsets>,
    ) -> anyhow::Result<Link> {
        // The path of an open descriptor leads to this very file, whatever its name is by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = CString::new(path).context("name the file")?;
        let attach = |messages: bool| {
            let points = points.iter().filter(|point| point.hook.shows_messages() == messages);
            let (at, cookies): (Vec<_>, Vec<_>) =
                points.map(|point| (point.offset, cookie(point.hook, offsets).to_bits())).unzip();
            if at.is_empty() {
                return Ok(None);
            }
            let link = raw::attach_at(self.0[HIT].as_fd(), &path, &at, &cookies);
            link.map(Some).with_context(|| format!("attach {} library probes", at.len()))
        };
        // In this order, for the same reason.
        let others = attach(false)?;
        Ok(Link { _messages: attach(true)?, _others: others })
    }
}

/// By how many links these places of a file are attached.
pub fn links(points: &[ProbePoint]) -> usize {
    let shows = |messages| points.iter().any(|point| point.hook.shows_messages() == messages);
    [true, false].into_iter().filter(|messages| shows(*messages)).count()
}

fn cookie(hook: Hook, offsets: Option<VerifyOffsets>) -> Cookie {
    let entry = match (hook, offsets) {
        (Hook::VerifyResult, Some(_)) => VERIFY_ENFORCED_ENTRY,
        _ => hook as usize,
    };
    // Below `MAX_HOOKS`.
    Cookie::new(u8::try_from(entry).unwrap_or(u8::MAX), offsets)
}

/// Whether the kernel knows links of many places: it then finds that a directory is no file.
fn is_supported(program: BorrowedFd<'_>) -> bool {
    let attached = raw::attach_at(program, c"/", &[0], &[0]);
    attached.is_err_and(|error: io::Error| error.raw_os_error() == Some(libc::EBADF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_an_entry_of_its_own() {
        let offsets = VerifyOffsets { mode: 8, ..VerifyOffsets::default() };
        let mut entries: Vec<_> =
            Hook::ALL.iter().map(|hook| cookie(*hook, None).entry()).collect();
        assert_eq!(entries[Hook::Transcript as usize], Hook::Transcript as u8);
        let enforced = cookie(Hook::VerifyResult, Some(offsets));
        assert_eq!(enforced.offsets(), offsets);
        entries.push(enforced.entry());
        entries.sort_unstable();
        entries.dedup();
        assert_eq!(entries.len(), Hook::ALL.len() + 1);
        assert!(entries.iter().all(|entry| u32::from(*entry) < MAX_HOOKS));
    }
}
