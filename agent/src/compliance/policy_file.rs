//! The operator's policy file, read again when it changes.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

use hopsight_core::{health::ComponentState, policy::rules::PolicySet};

/// The largest policy file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The policies in force. A file that cannot be used leaves those that were in force before.
#[derive(Debug)]
pub(super) struct PolicyFile {
    path: Option<PathBuf>,
    policies: PolicySet,
    /// Change time and length of the file when it was last read.
    read: Option<(SystemTime, u64)>,
    problem: Option<String>,
}

impl PolicyFile {
    /// The policies of `path` and the built-in ones; these alone if there is no path.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let mut file = Self { path, policies: PolicySet::built_in(), read: None, problem: None };
        file.refresh();
        file
    }

    /// The policies in force.
    pub(super) const fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Reads the file if it changed since it was last read.
    pub(super) fn refresh(&mut self) {
        let Some(path) = &self.path else { return };
        let version = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        if version.is_some() && version == self.read {
            return;
        }
        self.read = version;
        let policies = read_bounded(path)
            .with_context(|| format!("read the policy file {}", path.display()))
            .and_then(|text| {
                PolicySet::parse(&text)
                    .map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))
            });
        match policies {
            Ok(policies) => {
                tracing::info!(file = %path.display(), "policy file read");
                self.policies = policies;
                self.problem = None;
            }
            Err(error) => {
                let problem = format!("{error:#}");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}; the policies read before stay in force");
                }
                self.problem = Some(problem);
            }
        }
    }

    /// Its state, for `/readyz`.
    pub(super) fn health(&self) -> (ComponentState, String) {
        let own = self.policies.policies().iter().filter(|policy| !policy.built_in).count();
        match (&self.problem, &self.path) {
            (Some(problem), _) => {
                let kept = if own == 0 {
                    "the built-in policies".into()
                } else {
                    format!("{own} policies read before")
                };
                (ComponentState::Degraded, format!("{problem}; {kept} stay in force"))
            }
            (None, Some(path)) => {
                (ComponentState::Ready, format!("{own} policies of {}", path.display()))
            }
            (None, None) => (ComponentState::Ready, "built-in policies only".into()),
        }
    }
}

/// The text of a file of at most [`MAX_BYTES`], of which no more is read.
fn read_bounded(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_BYTES,
        "it is larger than {} MiB; split it or use globs",
        MAX_BYTES >> 20
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_leaves_the_policies_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        let mut file = PolicyFile::new(Some(path.clone()));
        let own =
            |file: &PolicyFile| file.policies().policies().iter().filter(|p| !p.built_in).count();
        for (text, expected, state, words) in [
            (None, 0, ComponentState::Degraded, "built-in policies stay in force"),
            (Some("[[policies]]\nrequire = \"mtls\"\n"), 1, ComponentState::Ready, "1 policies"),
            (
                Some("[[policies]]\nrequire = \"maybe\"\n"),
                1,
                ComponentState::Degraded,
                "policy.toml:2:",
            ),
            (Some(""), 0, ComponentState::Ready, "0 policies"),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            file.refresh();
            let health = file.health();
            assert_eq!((own(&file), health.0), (expected, state), "{text:?}: {health:?}");
            assert!(health.1.contains(words), "{text:?}: {health:?}");
        }
        assert_eq!(PolicyFile::new(None).health().0, ComponentState::Ready);
    }

    #[test]
    fn no_more_of_a_file_is_read_than_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        // Sparse: to read it whole would take a terabyte.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let (state, words) = PolicyFile::new(Some(path)).health();
        assert_eq!(state, ComponentState::Degraded);
        assert!(words.contains("larger than 4 MiB"), "{words}");
    }
}
