//! Library probes on kernels that are locked down, before Linux 6.6.
//!
//! With `lockdown=confidentiality` a program may read the memory of a process
//! (`bpf_probe_read_user`), and not that of the kernel. aya tests whether the latter is possible; where
//! it is not it takes the kernel for one before Linux 5.5, and puts the helper of those, which reads
//! both and is refused, in the place of either. So the probes are given to the kernel here, as they
//! were compiled.
#![expect(unsafe_code, reason = "perf_event_open(2) and ioctl(2) have no safe form for this")]

use std::{
    ffi::CString,
    fs, io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use anyhow::Context as _;
use aya::Ebpf;
use aya_obj::generated::perf_event_attr;

use super::{
    placement::Hook,
    raw::{self, AttachedBy, Loaded, owned},
};

/// `PERF_EVENT_IOC_ENABLE` and `PERF_EVENT_IOC_SET_BPF` (linux/perf_event.h).
const ENABLE: libc::c_ulong = 0x2400;
const SET_BPF: libc::c_ulong = 0x4004_2408;
/// The kind of perf events that uprobes are.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";

/// The programs of all hooks, in the kernel.
pub struct Programs {
    by_hook: Loaded,
    /// What [`KIND`] says.
    kind: u32,
}

/// One of them at one place; dropping it removes it.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

/// Whether aya would change the programs.
pub fn is_needed() -> bool {
    !aya::features().bpf_probe_read_kernel()
}

impl Programs {
    /// Gives the programs of all hooks to the kernel; see [`raw::load`].
    ///
    /// # Errors
    /// When the kernel refuses one; the message holds the verifier's.
    pub fn load(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let hooks = Hook::ALL.iter().map(|hook| hook.as_str());
        let by_hook = raw::load(ebpf, hooks, AttachedBy::PerfEvent)?;
        let kind = fs::read_to_string(KIND).with_context(|| format!("read {KIND}"))?;
        let kind = kind.trim().parse().with_context(|| format!("read {KIND}"))?;
        Ok(Self { by_hook, kind })
    }

    /// The programs, by their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.by_hook.iter().map(|(name, program)| (*name, program.as_fd()))
    }

    /// Attaches the program of a hook at an offset of the file at `path`, in all processes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&self, hook: Hook, path: &Path, offset: u64) -> anyhow::Result<Link> {
        let program = self.by_hook.get(hook.as_str()).with_context(|| format!("find {hook}"))?;
        let path = CString::new(path.as_os_str().as_encoded_bytes()).context("name the file")?;
        let event = open(self.kind, &path, offset).context("perf_event_open failed")?;
        control(event.as_fd(), SET_BPF, program.as_raw_fd()).context("PERF_EVENT_IOC_SET_BPF")?;
        control(event.as_fd(), ENABLE, 0).context("PERF_EVENT_IOC_ENABLE")?;
        Ok(Link(event))
    }
}

/// A perf event for an instruction of a file, whichever process executes it.
fn open(kind: u32, path: &CString, offset: u64) -> io::Result<OwnedFd> {
    // SAFETY: all zero is a valid value of this C structure.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.size = u32::try_from(size_of_val(&attr)).unwrap_or_default();
    attr.type_ = kind;
    attr.__bindgen_anon_3.config1 = path.as_ptr() as u64;
    attr.__bindgen_anon_4.config2 = offset;
    let (every_process, processor, group) = (-1, 0, -1);
    let flags = libc::c_ulong::from(aya_obj::generated::PERF_FLAG_FD_CLOEXEC);
    // SAFETY: `attr` and the path outlive the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            every_process,
            processor,
            group,
            flags,
        )
    })
}

fn control(event: BorrowedFd<'_>, request: libc::c_ulong, argument: RawFd) -> io::Result<()> {
    // SAFETY: a descriptor of ours, and a request that takes a number.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
