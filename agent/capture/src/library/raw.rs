//! Kernel programs and their links by bpf(2) itself, for what aya does otherwise.
#![expect(unsafe_code, reason = "bpf(2) has no safe form")]

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{
    Function, Object,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type},
};

use crate::loader;

/// Programs in the kernel, by their names.
pub type Loaded = HashMap<&'static str, OwnedFd>;

/// What probes are attached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedBy {
    /// A perf event each.
    PerfEvent,
    /// One link for many (`BPF_TRACE_UPROBE_MULTI`).
    OneLink,
}

/// Gives the programs of these names to the kernel as they were compiled, with the maps of `ebpf`, of
/// which none may have been taken that they use.
///
/// # Errors
/// When the kernel refuses one; the message holds the verifier's.
pub fn load(
    ebpf: &Ebpf,
    names: impl IntoIterator<Item = &'static str>,
    by: AttachedBy,
) -> anyhow::Result<Loaded> {
    let mut object = Object::parse(loader::OBJECT).context("parse the kernel programs")?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = object.maps.clone();
    let fds = maps.iter().filter_map(|(name, map)| {
        let data = data(ebpf.map(name)?)?;
        Some((name.as_str(), data.fd().as_fd().as_raw_fd(), map))
    });
    object.relocate_maps(fds, &sections).context("give the programs their maps")?;
    object.relocate_calls(&sections).context("link the programs")?;
    let load = |name: &'static str| {
        let program = object.programs.get(name).with_context(|| format!("find {name}"))?;
        let function = object.functions.get(&program.function_key());
        let function = function.with_context(|| format!("find the code of {name}"))?;
        let fd = load_one(function, &program.license, by);
        Ok((name, fd.with_context(|| format!("load the library probe {name}"))?))
    };
    names.into_iter().map(load).collect()
}

/// What is the same of every map of the kinds that the programs have.
pub const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data) => Some(data),
        _ => None,
    }
}

/// `BPF_PROG_LOAD`.
fn load_one(function: &Function, license: &CString, by: AttachedBy) -> anyhow::Result<OwnedFd> {
    const LOG: u32 = 1 << 16;
    let mut log = vec![0_u8; LOG as usize];
    let count = u32::try_from(function.instructions.len()).context("count the instructions")?;
    let attempt = |log: &mut [u8]| {
        let mut attr = zeroed();
        // SAFETY: the part of the union that this command reads.
        let part = unsafe { &mut attr.__bindgen_anon_3 };
        part.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        part.insn_cnt = count;
        part.insns = function.instructions.as_ptr() as u64;
        part.license = license.as_ptr() as u64;
        if by == AttachedBy::OneLink {
            part.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        }
        if !log.is_empty() {
            part.log_level = 1;
            part.log_size = LOG;
            part.log_buf = log.as_mut_ptr() as u64;
        }
        // SAFETY: every pointer in `attr` outlives the call.
        owned(unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) })
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

/// Attaches one program at every one of `offsets` of the file at `path`, in all processes, each with
/// its cookie (`BPF_LINK_CREATE`).
///
/// # Errors
/// The kernel's.
pub fn attach_at(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    debug_assert_eq!(offsets.len(), cookies.len());
    let count = u32::try_from(offsets.len().min(cookies.len())).unwrap_or(u32::MAX);
    let mut attr = zeroed();
    // SAFETY: the part of the union that this command reads.
    let part = unsafe { &mut attr.link_create };
    part.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    part.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: the part of the union that links of this type have.
    let places = unsafe { &mut part.__bindgen_anon_3.uprobe_multi };
    places.path = path.as_ptr() as u64;
    places.offsets = offsets.as_ptr() as u64;
    places.cookies = cookies.as_ptr() as u64;
    places.cnt = count;
    // SAFETY: every pointer in `attr` outlives the call.
    owned(unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) })
}

/// Puts a program at an entry of a map of programs (`BPF_MAP_UPDATE_ELEM`).
///
/// # Errors
/// The kernel's.
pub fn set_entry(map: BorrowedFd<'_>, entry: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let value = program.as_raw_fd();
    let mut attr = zeroed();
    // SAFETY: the part of the union that this command reads.
    let part = unsafe { &mut attr.__bindgen_anon_2 };
    part.map_fd = map.as_raw_fd().cast_unsigned();
    part.key = &raw const entry as u64;
    part.__bindgen_anon_1.value = &raw const value as u64;
    // SAFETY: every pointer in `attr` outlives the call.
    let result = unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn zeroed() -> bpf_attr {
    // SAFETY: all zero is a valid value of this C union.
    unsafe { mem::zeroed() }
}

/// # Safety
/// Every pointer in `attr` that the command follows is valid.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> libc::c_long {
    let (number, size) = (command as libc::c_int, size_of_val(attr));
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_bpf, number, &raw mut *attr, size) }
}

/// The descriptor that a system call gave.
pub fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just given it to us.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
