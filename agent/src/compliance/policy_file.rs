//! The operator's policy file, read again when it changes.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

use hopsight_core::{health::ComponentState, tls::fingerprint::Fingerprint};
use hopsight_posture::policy::{exempt::PolicyDocument, time::UnixTime};

/// The largest policy file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The policies in force. A file that cannot be used leaves those that were in force before.
#[derive(Debug)]
pub(super) struct PolicyFile {
    path: Option<PathBuf>,
    /// An agent that never could use its file has failed.
    required: bool,
    in_force: PolicyDocument,
    /// Digest of the file that they were read from.
    sha256: Option<Fingerprint>,
    /// The file was used at least once.
    was_used: bool,
    /// Change time and length of the file when it was last read.
    read: Option<(SystemTime, u64)>,
    problem: Option<String>,
}

impl PolicyFile {
    /// The policies of `path` and the built-in ones; these alone if there is no path.
    /// `required`: without its file the agent has failed.
    pub(super) fn new(path: Option<PathBuf>, required: bool) -> Self {
        let in_force = PolicyDocument::built_in();
        let mut file = Self {
            path,
            required,
            in_force,
            sha256: None,
            was_used: false,
            read: None,
            problem: None,
        };
        file.refresh();
        file
    }

    /// The policies and exemptions in force.
    pub(super) const fn in_force(&self) -> &PolicyDocument {
        &self.in_force
    }

    /// Digest of the file that the policies in force were read from; `None` where there is none.
    pub(super) const fn sha256(&self) -> Option<Fingerprint> {
        self.sha256
    }

    /// What tells the policies in force from others, also after a restart.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.in_force.policies).hash(&mut hasher);
        hasher.finish()
    }

    /// Reads the file if it changed since it was last read, and returns what was in force before.
    pub(super) fn refresh(&mut self) -> Option<PolicyDocument> {
        let path = self.path.as_ref()?;
        let version = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        if version.is_some() && version == self.read {
            return None;
        }
        self.read = version;
        match read(path) {
            Ok((policies, sha256)) => {
                self.sha256 = Some(sha256);
                tracing::info!(file = %path.display(), "policy file read");
                self.was_used = true;
                self.problem = None;
                Some(std::mem::replace(&mut self.in_force, policies))
            }
            Err(error) => {
                let problem = format!("{error:#}");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}; the policies read before stay in force");
                }
                self.problem = Some(problem);
                None
            }
        }
    }

    /// Its state, for `/readyz`.
    pub(super) fn health(&self, now: UnixTime) -> (ComponentState, String) {
        let own = self.in_force.policies.own().count();
        match (&self.problem, &self.path) {
            (Some(problem), _) if self.required && !self.was_used => {
                let detail = format!("{problem}; policy.required is set");
                (ComponentState::Failed, detail)
            }
            (Some(problem), _) => {
                let kept = if own == 0 {
                    "the built-in policies".into()
                } else {
                    format!("{own} policies read before")
                };
                (ComponentState::Degraded, format!("{problem}; {kept} stay in force"))
            }
            (None, Some(path)) => {
                let ended: Vec<_> = self.in_force.exemptions.ended(now).collect();
                let ended = match ended.as_slice() {
                    [] => String::new(),
                    [one] => format!("; the exemption {} of {} has ended", one.name, one.owner),
                    all => format!("; {} exemptions have ended", all.len()),
                };
                (ComponentState::Ready, format!("{own} policies of {}{ended}", path.display()))
            }
            (None, None) if self.required => {
                let detail = "policy.required is set, and no policy file is named (policy.file)";
                (ComponentState::Failed, detail.into())
            }
            (None, None) => (ComponentState::Ready, "built-in policies only".into()),
        }
    }
}

/// Reads a policy file.
///
/// # Errors
/// It cannot be read, is too large, or has a mistake, with its line and column.
pub fn read_policy(path: &Path) -> anyhow::Result<PolicyDocument> {
    read(path).map(|(policies, _)| policies)
}

/// The same with the digest of the file.
fn read(path: &Path) -> anyhow::Result<(PolicyDocument, Fingerprint)> {
    let text =
        read_bounded(path).with_context(|| format!("read the policy file {}", path.display()))?;
    let policies = PolicyDocument::parse(&text)
        .map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))?;
    Ok((policies, Fingerprint::of(text.as_bytes())))
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

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn a_broken_file_leaves_the_policies_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        let mut file = PolicyFile::new(Some(path.clone()), false);
        let own = |file: &PolicyFile| file.in_force().policies.own().count();
        for (text, expected, state, words) in [
            (None, 0, ComponentState::Degraded, "built-in policies stay in force"),
            (Some("[[policies]]\nrequire = \"mtls\"\n"), 1, ComponentState::Ready, "1 policies"),
            (
                Some("[[policies]]\nrequire = \"maybe\"\n"),
                1,
                ComponentState::Degraded,
                "policy.toml:2:",
            ),
            (Some(""), 1, ComponentState::Degraded, "policy.toml:1:1: the file is empty"),
            (Some(" \n# soon\n"), 1, ComponentState::Degraded, "1 policies read before stay"),
            (Some("policies = []\n"), 0, ComponentState::Ready, "0 policies"),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            file.refresh();
            let health = file.health(NOW);
            assert_eq!((own(&file), health.0), (expected, state), "{text:?}: {health:?}");
            assert!(health.1.contains(words), "{text:?}: {health:?}");
        }
        assert_eq!(PolicyFile::new(None, false).health(NOW).0, ComponentState::Ready);
        assert_eq!(PolicyFile::new(None, true).health(NOW).0, ComponentState::Failed);
    }

    #[test]
    fn an_agent_that_requires_its_policy_has_failed_without_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        let mut file = PolicyFile::new(Some(path.clone()), true);
        let (state, words) = file.health(NOW);
        assert_eq!(state, ComponentState::Failed, "no file: {words}");
        assert!(words.contains("policy.required"), "{words}");
        for (text, expected) in [
            ("# nothing\n", ComponentState::Failed),
            ("[[policies]]\nrequire = \"maybe\"\n", ComponentState::Failed),
            ("[[policies]]\nrequire = \"mtls\"\n", ComponentState::Ready),
            // Those of before stay in force: that is no agent without policy.
            ("[[policies]]\nrequire = \"perhaps\"\n", ComponentState::Degraded),
        ] {
            fs::write(&path, text).unwrap();
            file.refresh();
            assert_eq!(file.health(NOW).0, expected, "{text}");
        }
    }

    #[test]
    fn an_exemption_that_ended_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        let text = "[[exempt]]\nmatch.upstream = \"legacy\"\nrules = [\"plaintext\"]\n\
                    owner = \"payments\"\nreason = \"soon\"\nuntil = 1970-01-01\n";
        fs::write(&path, text).unwrap();
        let file = PolicyFile::new(Some(path), false);
        let day = UnixTime::from_secs(86_400);
        let (state, words) = file.health(UnixTime(day.0 - 1));
        assert!(state == ComponentState::Ready && !words.contains("ended"), "{words}");
        let (state, words) = file.health(day);
        assert_eq!(state, ComponentState::Ready, "{words}");
        assert!(words.ends_with("the exemption exempt-1 of payments has ended"), "{words}");
    }

    #[test]
    fn no_more_of_a_file_is_read_than_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        // Sparse: to read it whole would take a terabyte.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let (state, words) = PolicyFile::new(Some(path), false).health(NOW);
        assert_eq!(state, ComponentState::Degraded);
        assert!(words.contains("larger than 4 MiB"), "{words}");
    }
}
