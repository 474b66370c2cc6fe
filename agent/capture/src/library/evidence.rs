//! From the files of a process to what is said about its library evidence.

use super::{
    discovery::{self, Absence, Candidate},
    files::Probes,
    inspect::{self, Role, Search},
    placement::Rustls,
    status::{LibraryEvidence, NoLibrary, ProbedLibrary},
};
use hopsight_system::maps::Mapping;

/// Whether probes are, or could be, on a file.
#[derive(Clone, Copy, Debug)]
pub enum ProbeState<'p> {
    /// They are, or it is only asked whether they could be.
    Placed,
    /// They are taken away for a while.
    Paused,
    /// Its user has as many probed files as one may.
    BeyondQuota,
    /// The kernel refused them.
    Refused(&'p str),
    /// They were hit too often.
    TakenOut(&'p str),
}

impl<'p> From<&'p Probes> for ProbeState<'p> {
    fn from(probes: &'p Probes) -> Self {
        match probes {
            Probes::Unwanted | Probes::Attached(_) => Self::Placed,
            Probes::Paused => Self::Paused,
            Probes::BeyondQuota => Self::BeyondQuota,
            Probes::Refused(why) => Self::Refused(why),
            Probes::TakenOut(why, _) => Self::TakenOut(why),
        }
    }
}

/// What the files of a process, each with its role and standing, make of it.
pub fn of_files(
    mappings: &[Mapping],
    candidates: &[Candidate],
    files: &[(&Role, ProbeState<'_>)],
) -> LibraryEvidence {
    let mut library = None;
    let mut crypto_version = None;
    let mut sees_enforcement = false;
    for (candidate, (role, standing)) in candidates.iter().zip(files) {
        match (role, standing) {
            (Role::Crypto { version }, _) => crypto_version.clone_from(version),
            (Role::Application(_), ProbeState::Placed) => sees_enforcement = true,
            (Role::Library { .. }, ProbeState::Refused(why)) => {
                return inferred(NoLibrary::AttachFailed, (*why).to_owned());
            }
            (Role::Library { .. }, ProbeState::TakenOut(why)) => {
                return inferred(NoLibrary::TooManyHits, (*why).to_owned());
            }
            (Role::Library { .. }, ProbeState::BeyondQuota) => {
                let detail = "its user has as many probed files as one may";
                return inferred(NoLibrary::BeyondQuota, detail.to_owned());
            }
            (Role::Library { .. }, ProbeState::Paused) => {
                return inferred(NoLibrary::Paused, "by the sampling mode".to_owned());
            }
            (Role::Library { placement, version, build_id }, ProbeState::Placed) => {
                let path = candidate.mapping.path.clone();
                let (version, build_id) = (version.clone(), build_id.clone());
                library = Some(ProbedLibrary::new(path, version, build_id, placement));
            }
            _ => {}
        }
    }
    let Some(library) = library else {
        let roles: Vec<_> = files.iter().map(|(role, _)| *role).collect();
        return discovery::absence(mappings, &roles).into();
    };
    let version = library.version.or(crypto_version);
    LibraryEvidence::Library(ProbedLibrary { version, sees_enforcement, ..library })
}

/// What library evidence a process would give, with rustls or without. Attaches nothing; needs the right to read the
/// process's mappings (`CAP_SYS_PTRACE`) and files.
#[must_use]
pub fn survey(pid: u32, rustls: Rustls) -> LibraryEvidence {
    let search = Search { rustls, ..Search::default() };
    let found = discovery::mappings(pid)
        .and_then(|mappings| Ok((discovery::candidates(pid, &mappings)?, mappings)));
    let (candidates, mappings) = match found {
        Ok(found) => found,
        Err(absence) => return absence.into(),
    };
    let mut roles = Vec::new();
    for Candidate { mapping, file, may_hold_library, .. } in &candidates {
        match inspect::role(file, mapping.file_name(), *may_hold_library, &search) {
            Ok(role) => roles.push(role),
            Err(error) => return Absence::from_error(&error, &mapping.path).into(),
        }
    }
    let files: Vec<_> = roles.iter().map(|role| (role, ProbeState::Placed)).collect();
    of_files(&mappings, &candidates, &files)
}

fn inferred(reason: NoLibrary, detail: String) -> LibraryEvidence {
    LibraryEvidence::Inferred { reason, detail }
}

impl From<Absence> for LibraryEvidence {
    fn from(Absence { reason, detail }: Absence) -> Self {
        inferred(reason, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_no_openssl() {
        let LibraryEvidence::Inferred { reason, detail } =
            survey(std::process::id(), Rustls::LeftAlone)
        else {
            panic!("the test program links no OpenSSL")
        };
        // Its own strings name every stack, so that it looks like a static one.
        assert!(matches!(reason, NoLibrary::StaticTls | NoLibrary::NoTlsLibrary), "{detail}");
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let LibraryEvidence::Inferred { reason, .. } = survey(pid, Rustls::LeftAlone) else {
            panic!("it ended")
        };
        assert_eq!(reason, NoLibrary::Gone);
    }
}
