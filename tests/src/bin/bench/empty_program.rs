//! A cgroup program that does nothing: what the kernel's statistics show of a program before it
//! has done anything, the reading of the clock above all.

use std::{
    ffi::c_long,
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::Context as _;

// From linux/bpf.h.
const BPF_PROG_LOAD: c_long = 5;
const BPF_LINK_CREATE: c_long = 28;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_CGROUP_INET_EGRESS: u32 = 1;

/// `r0 = 1; exit`, that is: let the packet pass.
static PROGRAM: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
static LICENSE: &[u8; 4] = b"GPL\0";

/// The attributes of `BPF_PROG_LOAD` up to the attach type.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The attributes of `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The program, attached to egress of a cgroup until it is dropped.
#[derive(Debug)]
pub struct EmptyProgram {
    program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyProgram {
    /// Loads and attaches it.
    ///
    /// # Errors
    /// When the kernel refuses; it needs the same rights as hopsight.
    pub fn attach(cgroup: &Path) -> anyhow::Result<Self> {
        let load = LoadAttributes {
            program_type: BPF_PROG_TYPE_CGROUP_SKB,
            instructions: 2,
            program: PROGRAM.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            name: *b"hopsight_empty\0\0",
            expected_attach_type: BPF_CGROUP_INET_EGRESS,
            ..LoadAttributes::default()
        };
        let program = bpf(BPF_PROG_LOAD, &load).context("load the empty program")?;
        let cgroup = File::open(cgroup).context("open the cgroup")?;
        let descriptor = |fd: i32| u32::try_from(fd).context("use a descriptor");
        let link = LinkAttributes {
            program: descriptor(program.as_raw_fd())?,
            target: descriptor(cgroup.as_raw_fd())?,
            attach_type: BPF_CGROUP_INET_EGRESS,
            flags: 0,
        };
        let link = bpf(BPF_LINK_CREATE, &link).context("attach the empty program")?;
        Ok(Self { program, _link: link })
    }

    /// Nanoseconds spent in it and how often it ran, while the kernel keeps statistics.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn runs(&self) -> anyhow::Result<(u64, u64)> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let text = fs::read_to_string(path).context("read the empty program's fdinfo")?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
                .with_context(|| format!("find {key} in fdinfo"))
        };
        Ok((value("run_time_ns:")?, value("run_cnt:")?))
    }
}

/// bpf(2) for a command that gives a descriptor.
#[expect(unsafe_code, reason = "no wrapper loads a program that is not in an ELF object")]
fn bpf<A>(command: c_long, attributes: &A) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are those of the command, as long as said, and what they point to is
    // static.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>())
    };
    let descriptor = i32::try_from(answer).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
