//! Library probes on kernels that are locked down.
//!
//! With `lockdown=confidentiality` a program may read the memory of a process
//! (`bpf_probe_read_user`), and not that of the kernel. aya tests whether the latter is possible; where
//! it is not it takes the kernel for one before Linux 5.5, and puts the helper of those, which reads
//! both and is refused, in the place of either. So the probes are given to the kernel here, as they
//! were compiled.
#![expect(
    unsafe_code,
    reason = "bpf(2), perf_event_open(2) and ioctl(2) have no safe form for this"
)]

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs, io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{
    Function, Object,
    generated::{bpf_attr, bpf_cmd, bpf_prog_type, perf_event_attr},
};

use super::placement::Hook;
use crate::loader;

/// `PERF_EVENT_IOC_ENABLE` and `PERF_EVENT_IOC_SET_BPF` (linux/perf_event.h).
const ENABLE: libc::c_ulong = 0x2400;
const SET_BPF: libc::c_ulong = 0x4004_2408;
/// The kind of perf events that uprobes are.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";

/// The programs of all hooks, in the kernel.
pub struct Programs {
    by_hook: HashMap<&'static str, OwnedFd>,
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
    /// Gives the programs of all hooks to the kernel, with the maps of `ebpf`, of which none may
    /// have been taken that they use.
    ///
    /// # Errors
    /// When the kernel refuses one; the message holds the verifier's.
    pub fn load(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let mut object = Object::parse(loader::OBJECT).context("parse the kernel programs")?;
        let sections: HashSet<usize> =
            object.functions.keys().map(|(section, _)| *section).collect();
        let maps = object.maps.clone();
        let fds = maps.iter().filter_map(|(name, map)| {
            let data = data(ebpf.map(name)?)?;
            Some((name.as_str(), data.fd().as_fd().as_raw_fd(), map))
        });
        object.relocate_maps(fds, &sections).context("give the programs their maps")?;
        object.relocate_calls(&sections).context("link the programs")?;
        let mut programs = HashMap::new();
        for hook in Hook::ALL.iter().map(|hook| hook.as_str()) {
            let program = object.programs.get(hook).with_context(|| format!("find {hook}"))?;
            let function = object.functions.get(&program.function_key());
            let function = function.with_context(|| format!("find the code of {hook}"))?;
            let fd = load(function, &program.license);
            programs.insert(hook, fd.with_context(|| format!("load the library probe {hook}"))?);
        }
        let kind = fs::read_to_string(KIND).with_context(|| format!("read {KIND}"))?;
        let kind = kind.trim().parse().with_context(|| format!("read {KIND}"))?;
        Ok(Self { by_hook: programs, kind })
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

/// What is the same of every map of the kinds that the programs have.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data) => Some(data),
        _ => None,
    }
}

/// `BPF_PROG_LOAD`.
fn load(function: &Function, license: &CString) -> anyhow::Result<OwnedFd> {
    const LOG: u32 = 1 << 16;
    let mut log = vec![0_u8; LOG as usize];
    let count = u32::try_from(function.instructions.len()).context("count the instructions")?;
    let attempt = |log: &mut [u8]| {
        // SAFETY: all zero is a valid value of this C union.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: the part of the union that this command reads.
        let part = unsafe { &mut attr.__bindgen_anon_3 };
        part.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        part.insn_cnt = count;
        part.insns = function.instructions.as_ptr() as u64;
        part.license = license.as_ptr() as u64;
        if !log.is_empty() {
            part.log_level = 1;
            part.log_size = LOG;
            part.log_buf = log.as_mut_ptr() as u64;
        }
        let command = bpf_cmd::BPF_PROG_LOAD as libc::c_int;
        // SAFETY: every pointer in `attr` outlives the call.
        let fd =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of_val(&attr)) };
        owned(fd)
    };
    // The verifier writes its log only where it is asked for.
    attempt(&mut []).or_else(|_| attempt(&mut log)).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&log[..end]).into_owned();
        anyhow::anyhow!(
            "the kernel refused the program: {error} (verifier: {})",
            loader::shortened(&text)
        )
    })
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

/// The descriptor that a system call gave.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just given it to us.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
