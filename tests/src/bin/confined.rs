//! Drops privileges as the agent does, then tries what it should no longer be able to do, and
//! prints a line for each: duty, attempt, and the kernel's answer.
//!
//! Arguments: `everything` or `system-calls` (capabilities and files are kept, so that it is the
//! filter that refuses), and a directory that a server may read.

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    os::fd::AsFd as _,
    path::Path,
    process::Command,
};

use anyhow::Context as _;
use hopsight::privileges::{Duty, Needs, PrivilegeOptions, Privileges};
use hopsight_capture::{LiveOptions, LiveSource};
use rustix::{
    fs::{CWD, FileType, Gid, Mode, Uid},
    net::{AddressFamily, SocketFlags, SocketType},
    process::{PidfdFlags, PidfdGetfdFlags, Signal},
    thread::{LinkNameSpaceType, move_into_link_name_space},
    time::{ClockId, clock_gettime, clock_settime},
};

/// A name and what is tried.
type Attempt<'a> = (&'a str, &'a (dyn Fn() -> io::Result<()> + Sync));

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, readable] = arguments.as_slice() else {
        anyhow::bail!("arguments: everything|system-calls DIRECTORY");
    };
    let everything = mode == "everything";
    let options = PrivilegeOptions {
        user: everything.then(|| "65532".parse()).transpose()?,
        drop_capabilities: everything,
        landlock: everything,
        ..PrivilegeOptions::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("read the address")?;
    let network = File::open("/proc/self/ns/net").context("open the network namespace")?;
    let parent = rustix::process::getppid().context("find the parent")?;
    let needs = Needs { served_from: vec![readable.into()], ..Needs::default() };
    let privileges = Privileges::drop_to(options, needs)?;

    let system_calls: &[Attempt] = &[
        ("execve", &|| Command::new("/bin/true").spawn().map(drop)),
        ("chroot", &|| Ok(rustix::process::chroot("/")?)),
        ("setns", &|| {
            Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
        }),
        ("mknodat", &|| {
            let file = Path::new(readable).join("device");
            Ok(rustix::fs::mknodat(CWD, &file, FileType::CharacterDevice, Mode::RUSR, 0x0103)?)
        }),
        ("setresuid", &|| {
            let nobody = Uid::from_raw(65534);
            Ok(rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?)
        }),
        ("setresgid", &|| {
            let nobody = Gid::from_raw(65534);
            Ok(rustix::thread::set_thread_res_gid(nobody, nobody, nobody)?)
        }),
        ("kill", &|| Ok(rustix::process::kill_process(parent, Signal::CONT)?)),
        ("clock_settime", &|| {
            Ok(clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime))?)
        }),
        ("socket(AF_PACKET)", &|| {
            let packet = AddressFamily::PACKET;
            Ok(rustix::net::socket_with(packet, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .map(drop)?)
        }),
        ("pidfd_getfd", &|| {
            let process = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
            Ok(rustix::process::pidfd_getfd(process, 0, PidfdGetfdFlags::empty()).map(drop)?)
        }),
        ("bpf(BPF_MAP_CREATE)", &|| {
            let refused = LiveSource::start(LiveOptions::default()).map(drop);
            refused.map_err(|error| match error.downcast::<io::Error>() {
                Ok(error) => error,
                Err(error) if format!("{error:#}").contains("(os error 1)") => {
                    io::ErrorKind::PermissionDenied.into()
                }
                Err(error) => io::Error::other(format!("{error:#}")),
            })
        }),
    ];
    let files: &[Attempt] = &[
        ("read /etc/passwd", &|| fs::read("/etc/passwd").map(drop)),
        ("read what it serves from", &|| fs::read(Path::new(readable).join("file")).map(drop)),
        ("write there", &|| fs::write(Path::new(readable).join("new"), "x")),
        ("read /proc/self/stat", &|| fs::read("/proc/self/stat").map(drop)),
        ("look into its parent", &|| {
            fs::read_dir(format!("/proc/{}/root/", parent.as_raw_nonzero())).map(drop)
        }),
        ("listen", &|| TcpListener::bind("127.0.0.1:0").map(drop)),
        ("connect", &|| TcpStream::connect(address).map(drop)),
    ];
    for (duty, name) in [(Duty::Inspect, "inspect"), (Duty::Write, "write"), (Duty::Serve, "serve")]
    {
        privileges.confined(duty, || {
            for (attempt, run) in system_calls.iter().chain(files) {
                println!("{name}\t{attempt}\t{}", answer(run()));
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn answer(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "works".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => "refused".to_owned(),
        Err(error) => error.to_string(),
    }
}
