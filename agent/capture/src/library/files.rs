//! The probed files.

use std::{fs::File, io, time::Instant};

use aya::Ebpf;
use hopsight_abi::VerifyOffsets;
use tracing::warn;

use super::{
    attach::{self, Attachment},
    discovery::Candidate,
    inspect::{self, Role},
    placement::ProbePoint,
};

/// Whether probes are in place.
#[derive(Debug)]
pub enum Probes {
    /// The file wants none.
    Unwanted,
    /// They are.
    Attached(#[expect(dead_code, reason = "held for its drop")] Attachment),
    /// Taken away for a while.
    Paused,
    /// The kernel refused them.
    Refused(String),
}

/// A mapped file and its probes.
pub struct ProbedFile {
    /// Keeps the file at hand for the next attachment, should its name go away.
    file: File,
    /// What it is.
    pub role: Role,
    /// Whether it is probed.
    pub probes: Probes,
    /// When a watched process was last seen with it.
    pub last_used: Instant,
}

impl ProbedFile {
    /// Reads what the file is. Nothing is attached yet.
    ///
    /// # Errors
    /// When the file cannot be kept open.
    pub fn new(candidate: &Candidate) -> io::Result<Self> {
        let name = candidate.mapping.file_name();
        let role = inspect::role(&candidate.file, name).unwrap_or_else(|error| {
            warn!(path = %candidate.mapping.path.display(), %error, "cannot read a mapped file");
            Role::Other
        });
        let file = candidate.file.try_clone()?;
        let mut probed = Self { file, role, probes: Probes::Paused, last_used: Instant::now() };
        if probed.points().is_empty() {
            probed.probes = Probes::Unwanted;
        }
        Ok(probed)
    }

    /// Attaches paused probes.
    pub fn resume(&mut self, ebpf: &mut Ebpf) {
        if matches!(self.probes, Probes::Paused) {
            self.probes =
                match attach::attach(ebpf, &self.file, self.points(), self.verify_offsets()) {
                    Ok(attachment) => Probes::Attached(attachment),
                    Err(error) => Probes::Refused(format!("{error:#}")),
                };
        }
    }

    /// Takes the probes away until [`Self::resume`].
    pub fn pause(&mut self) {
        if !matches!(self.probes, Probes::Unwanted) {
            self.probes = Probes::Paused;
        }
    }

    fn verify_offsets(&self) -> Option<VerifyOffsets> {
        match &self.role {
            Role::Library { placement, .. } => placement.verify_offsets,
            _ => None,
        }
    }

    fn points(&self) -> &[ProbePoint] {
        match &self.role {
            Role::Library { placement, .. } => &placement.points,
            Role::Application(points) => points,
            Role::Unsupported(_) | Role::Crypto { .. } | Role::Other => &[],
        }
    }
}
