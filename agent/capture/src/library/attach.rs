//! Attaching the kernel programs to probe points.

use std::{
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use hopsight_abi::{Cookie, VerifyOffsets};
use tracing::{debug, info, warn};

use super::{
    as_compiled,
    placement::{Hook, Image, ProbePoint},
    together,
};

/// Probes on one file; dropping them removes them.
#[derive(Debug)]
pub struct Attachment {
    links: Vec<Link>,
}

/// Lets the kernel forget which connection objects it knows. Where probes were away, the object at an
/// address may be another by now, and its ticket would be taken for one of the handshake that was seen
/// there before.
pub fn forget_connections(ebpf: &mut Ebpf) {
    let known = ebpf.map_mut("CONNECTIONS").context("find map CONNECTIONS");
    let forget = known.and_then(|map| {
        let mut map = aya::maps::HashMap::<_, [u64; 2], [u64; 2]>::try_from(map)?;
        let known: Vec<_> = map.keys().filter_map(Result::ok).collect();
        for object in known {
            // The kernel may have made room of it meanwhile.
            let _ = map.remove(&object);
        }
        Ok(())
    });
    if let Err(error) = forget {
        warn!("connection objects of before are not forgotten: {error:#}");
    }
}

#[derive(Debug)]
enum Link {
    ByAya(#[expect(dead_code, reason = "held for its drop")] UProbeLink),
    AsCompiled(#[expect(dead_code, reason = "held for its drop")] as_compiled::Link),
    Together(#[expect(dead_code, reason = "held for its drop")] together::Link),
}

/// Who gave the kernel its programs, and how they are attached.
pub enum Programs {
    /// We did: all probes of a file are one link.
    Together(together::Programs),
    /// aya: each is attached alone.
    ByAya,
    /// We did, on a kernel that is locked down: each is attached alone.
    AsCompiled(as_compiled::Programs),
}

impl Programs {
    /// By how many links these places of a file are, or would be, attached.
    pub fn links(&self, points: &[ProbePoint]) -> usize {
        match self {
            Self::Together(_) => together::links(points),
            Self::ByAya | Self::AsCompiled(_) => points.len(),
        }
    }

    /// Those that aya does not know, by their names.
    pub fn unknown_to_aya(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let (together, alone) = match self {
            Self::Together(programs) => (Some(programs.all()), None),
            Self::ByAya => (None, None),
            Self::AsCompiled(programs) => (None, Some(programs.all())),
        };
        together.into_iter().flatten().chain(alone.into_iter().flatten())
    }
}

/// Threads that remove links at the same time, so that their probes stop at once. What the kernel waits
/// for after that is waited for together, but for probes that are attached alone.
const REMOVERS: usize = 32;

/// Probes that wait to be removed.
static REMOVAL: Mutex<Removal> =
    Mutex::new(Removal { links: Vec::new(), threads: 0, is_at_exit: false });

/// For how long an exit waits for removals.
const PATIENCE: Duration = Duration::from_secs(3);

struct Removal {
    links: Vec<Link>,
    /// Threads that are at it.
    threads: usize,
    /// The process is about to end.
    is_at_exit: bool,
}

/// The process is about to end: of what is dropped from here on the kernel removes the probes that are
/// attached alone, with the process, for here all would wait in one line. See [`finish`].
pub fn leave_to_exit() {
    let mut removal = lock(&REMOVAL);
    removal.is_at_exit = true;
    let alone = removal.links.extract_if(.., |link| link.is_alone());
    alone.for_each(std::mem::forget);
}

/// Waits for removals that have begun, before the process ends. A thread that is ended in the middle of
/// one would leave its breakpoint in the files of running programs (`uprobe_unregister_nosync`, which
/// then gives up).
pub fn finish() {
    let end = Instant::now() + PATIENCE;
    while lock(&REMOVAL).threads > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

impl Link {
    const fn is_alone(&self) -> bool {
        !matches!(self, Self::Together(_))
    }
}

impl Drop for Attachment {
    /// The kernel lets the removal of every link wait for all processors, some 0.1 s. Threads of
    /// their own wait: new processes are looked at meanwhile. Where none can be had, the probes are
    /// removed here.
    fn drop(&mut self) {
        let mut removal = lock(&REMOVAL);
        if removal.is_at_exit {
            self.links.extract_if(.., |link| link.is_alone()).for_each(std::mem::forget);
        }
        removal.links.append(&mut self.links);
        let wanted = removal.links.len().min(REMOVERS);
        while removal.threads < wanted {
            if let Err(error) = thread::Builder::new().name("remover".into()).spawn(remove) {
                warn!(%error, "no further thread removes library probes");
                break;
            }
            removal.threads += 1;
        }
        if removal.threads == 0 {
            let links = std::mem::take(&mut removal.links);
            drop(removal);
            drop(links);
        }
    }
}

/// Removes probes while there are any.
fn remove() {
    let mut removal = lock(&REMOVAL);
    while let Some(link) = removal.links.pop() {
        drop(removal);
        drop(link);
        removal = lock(&REMOVAL);
    }
    removal.threads -= 1;
}

fn lock(removal: &Mutex<Removal>) -> MutexGuard<'_, Removal> {
    removal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program for [`Hook::VerifyResult`] that also tells whether libssl enforces the result; in
/// its place `verify_result` runs on kernels without probe cookies, before Linux 5.15.
const VERIFY_ENFORCED: &str = "verify_enforced";

/// Loads the kernel programs of all hooks.
///
/// # Errors
/// When the kernel refuses one; the message holds the verifier's.
pub fn load(ebpf: &mut Ebpf) -> anyhow::Result<Programs> {
    match together::Programs::load(ebpf) {
        Ok(Some(programs)) => return Ok(Programs::Together(programs)),
        Ok(None) => {}
        Err(error) => debug!("library probes are attached one by one: {error:#}"),
    }
    if as_compiled::is_needed() {
        return as_compiled::Programs::load(ebpf).map(Programs::AsCompiled);
    }
    for hook in Hook::ALL {
        let program = program(ebpf, hook.as_str())?;
        program.load().with_context(|| format!("load the library probe {hook}"))?;
    }
    if let Err(error) = program(ebpf, VERIFY_ENFORCED)?.load() {
        info!("whether OpenSSL enforces its verification stays unknown: {error:#}");
    }
    Ok(Programs::ByAya)
}

/// Loads the programs and attaches one for real, to this program's own first instruction, which
/// has run for the last time; nothing stays.
///
/// # Errors
/// What a probe would meet.
pub fn rehearse(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let programs = load(ebpf)?;
    rehearse_with(ebpf, &programs)
}

/// As [`rehearse`], as if the kernel were locked down.
///
/// # Errors
/// What a probe would meet.
pub fn rehearse_locked_down(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let programs = Programs::AsCompiled(as_compiled::Programs::load(ebpf)?);
    rehearse_with(ebpf, &programs)
}

fn rehearse_with(ebpf: &mut Ebpf, programs: &Programs) -> anyhow::Result<()> {
    const THIS: &str = "/proc/self/exe";
    let bytes = std::fs::read(THIS).context("read this program")?;
    let offset = Image::parse(&bytes)?.entry_offset().context("find this program's entry")?;
    let point = ProbePoint { hook: Hook::ConnectState, offset, emulated: false };
    let file = File::open(THIS).context("open this program")?;
    attach(ebpf, programs, &file, &[point], None).map(drop)
}

/// Attaches to every point of `file`, in all processes that map it or will: proxies fork workers,
/// and a probe per process would come too late for their first handshakes.
///
/// # Errors
/// When a point cannot be attached; none stays attached then.
pub fn attach(
    ebpf: &mut Ebpf,
    programs: &Programs,
    file: &File,
    points: &[ProbePoint],
    verify_offsets: Option<VerifyOffsets>,
) -> anyhow::Result<Attachment> {
    if let Programs::Together(programs) = programs {
        let link = programs.attach(file.as_fd(), points, verify_offsets)?;
        return Ok(Attachment { links: vec![Link::Together(link)] });
    }
    // The path of an open descriptor leads to this very file, whatever its name is by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut links = Vec::with_capacity(points.len());
    // Not loaded where the kernel knows no cookies.
    let cookie = match program(ebpf, VERIFY_ENFORCED)?.fd() {
        Ok(_) => verify_offsets.map(|offsets| Cookie::new(0, Some(offsets)).to_bits()),
        Err(_) => None,
    };
    for point in in_order(points) {
        if let Programs::AsCompiled(programs) = programs {
            let link = programs
                .attach(point.hook, path.as_ref(), point.offset)
                .with_context(|| format!("attach {} at offset {:#x}", point.hook, point.offset))?;
            links.push(Link::AsCompiled(link));
            continue;
        }
        let location = UProbeAttachLocation::AbsoluteOffset(point.offset);
        let (name, cookie) = match (point.hook, cookie) {
            (Hook::VerifyResult, Some(cookie)) => (VERIFY_ENFORCED, Some(cookie)),
            (hook, _) => (hook.as_str(), None),
        };
        let program = program(ebpf, name)?;
        let link = program
            .attach(UProbeAttachPoint { location, cookie }, &path, UProbeScope::AllProcesses)
            .and_then(|id| program.take_link(id))
            .with_context(|| format!("attach {} at offset {:#x}", point.hook, point.offset))?;
        links.push(Link::ByAya(link));
    }
    Ok(Attachment { links })
}

/// Those that show messages come last, and are removed first: of a handshake that is seen from its
/// first message on, everything else is seen as well, and that nobody verified is no mistake.
fn in_order(points: &[ProbePoint]) -> Vec<&ProbePoint> {
    let mut points: Vec<_> = points.iter().collect();
    points.sort_by_key(|point| point.hook.shows_messages());
    points
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> anyhow::Result<&'e mut UProbe> {
    let program = ebpf.program_mut(name).with_context(|| format!("find the program {name}"))?;
    program.try_into().with_context(|| format!("use the program {name} as a uprobe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shown_once_everything_else_would_be() {
        let point = |hook| ProbePoint { hook, offset: 0, emulated: true };
        for (name, found, want) in [
            (
                "Go",
                vec![Hook::GoSent, Hook::GoVerified, Hook::GoReceived, Hook::GoAppVerified],
                vec![Hook::GoVerified, Hook::GoAppVerified, Hook::GoSent, Hook::GoReceived],
            ),
            (
                "OpenSSL",
                vec![Hook::Transcript, Hook::ConnectState, Hook::VerifyResult],
                vec![Hook::ConnectState, Hook::VerifyResult, Hook::Transcript],
            ),
            (
                "BoringSSL",
                vec![Hook::BoringMessage, Hook::BoringChain],
                vec![Hook::BoringChain, Hook::BoringMessage],
            ),
        ] {
            let points: Vec<_> = found.into_iter().map(point).collect();
            let order: Vec<_> = in_order(&points).into_iter().map(|point| point.hook).collect();
            assert_eq!(order, want, "{name}");
        }
    }
}
