//! The probed files.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use aya::Ebpf;
use hopsight_abi::{Part, Stack, VerifyOffsets};
use tracing::warn;

use super::{
    attach::{self, Attachment, Programs},
    discovery::Candidate,
    inspect::{self, Role, Search},
    placement::ProbePoint,
    quota::Quota,
};
use hopsight_system::foreign::Lane;

/// Whether probes are in place.
#[derive(Debug)]
pub enum Probes {
    /// The file wants none.
    Unwanted,
    /// They are.
    Attached(#[expect(dead_code, reason = "held for its drop")] Attachment),
    /// Taken away for a while.
    Paused,
    /// Its user has as many probed files as one may.
    BeyondQuota,
    /// The kernel refused them.
    Refused(String),
    /// They were hit for nothing; how often, and when they were taken out.
    TakenOut(String, Instant),
}

/// A mapped file and its probes.
pub struct ProbedFile {
    /// Keeps the file at hand for the next attachment, should its name go away; absent where it
    /// wants none.
    file: Option<File>,
    /// Who was the first to use it.
    pub whose: Lane,
    /// A program, or an object that holds a library of its own: no library that others share.
    pub is_program: bool,
    /// What it is.
    pub role: Role,
    /// Whether it is probed.
    pub probes: Probes,
}

impl ProbedFile {
    /// Reads what the file is, where that is not known yet. Nothing is attached yet.
    ///
    /// # Errors
    /// When the file cannot be kept open.
    pub fn new(
        candidate: &Candidate,
        whose: Lane,
        known: Option<Role>,
        search: &Search,
    ) -> io::Result<Self> {
        let Candidate { mapping, file, may_hold_library, .. } = candidate;
        let read = || {
            let role = inspect::role(file, mapping.file_name(), *may_hold_library, search);
            role.unwrap_or_else(|error| {
                warn!(path = %mapping.path.display(), %error, "cannot read a mapped file");
                Role::Other { marks: Vec::new() }
            })
        };
        let role = known.unwrap_or_else(read);
        let is_program = *may_hold_library;
        let mut new = Self { file: None, whose, is_program, role, probes: Probes::Unwanted };
        if !new.points().is_empty() {
            new.probes = Probes::Paused;
            new.file = Some(candidate.file.try_clone()?);
        }
        Ok(new)
    }

    /// Attaches paused probes, if their user may have so much more.
    pub fn resume(&mut self, ebpf: &mut Ebpf, programs: &Programs, quota: &mut Quota) {
        let Some(file) = &self.file else { return };
        if !matches!(self.probes, Probes::Paused | Probes::BeyondQuota) {
            return;
        }
        if !quota.admit_links(self.whose, programs.links(self.points())) {
            self.probes = Probes::BeyondQuota;
            return;
        }
        self.probes =
            match attach::attach(ebpf, programs, file, self.points(), self.verify_offsets()) {
                Ok(attachment) => Probes::Attached(attachment),
                Err(error) => Probes::Refused(format!("{error:#}")),
            };
    }

    /// The places where probes are attached now, by the stack they are for.
    pub fn attached(&self) -> impl Iterator<Item = Stack> {
        let points = if self.is_attached() { self.points() } else { &[] };
        points.iter().map(|point| point.hook.stack())
    }

    /// By how many links they are attached now.
    pub fn links(&self, programs: &Programs) -> usize {
        match self.probes {
            Probes::Attached(_) => programs.links(self.points()),
            _ => 0,
        }
    }

    /// Lets probes that were taken out so long ago be attached again; answers whether they may be now.
    pub fn put_back_after(&mut self, pause: Duration) -> bool {
        let is_over =
            matches!(&self.probes, Probes::TakenOut(_, since) if since.elapsed() >= pause);
        if is_over {
            self.probes = Probes::Paused;
        }
        is_over
    }

    /// Whether it has places of this part.
    pub fn has(&self, part: Part) -> bool {
        self.points().iter().any(|point| point.hook.part() == part)
    }

    /// Whether its probes are in place.
    pub const fn is_attached(&self) -> bool {
        matches!(self.probes, Probes::Attached(_))
    }

    /// Takes the probes away for a while.
    pub fn take_out(&mut self, misfires: u64) {
        let detail = format!("{misfires} hits that showed no handshake: taken out");
        warn!(role = ?self.role, "the probes of a file: {detail}");
        self.probes = Probes::TakenOut(detail, Instant::now());
    }

    /// Takes the probes away until [`Self::resume`].
    pub fn pause(&mut self) {
        if !matches!(self.probes, Probes::Unwanted | Probes::TakenOut(..)) {
            self.probes = Probes::Paused;
        }
    }

    fn verify_offsets(&self) -> Option<VerifyOffsets> {
        match &self.role {
            Role::Library { placement, .. } => placement.verify_offsets,
            _ => None,
        }
    }

    /// Whether it wants probes.
    pub const fn wants_probes(&self) -> bool {
        self.file.is_some()
    }

    fn points(&self) -> &[ProbePoint] {
        match &self.role {
            Role::Library { placement, .. } => &placement.points,
            Role::Application(points) => points,
            Role::Unsupported(_) | Role::Crypto { .. } | Role::Other { .. } => &[],
        }
    }
}
