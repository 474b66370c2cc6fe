//! The files that a configuration names, looked at before it is rolled out.

use std::{
    fs::{self, File},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::Config;
use crate::compliance::read_policy;
use hopsight_export::http::tls::Tls;

impl Config {
    /// What is wrong with the files that it names, each with its key; nothing if they are what the
    /// agent needs. Nothing is written.
    #[must_use]
    pub fn file_problems(&self) -> Vec<String> {
        let looked_at = [
            ("watch.cgroup", each(self.watch.cgroup.as_ref(), directory)),
            ("policy.required", self.policy.has_what_it_requires()),
            ("policy.file", each(self.policy.file.as_ref(), |path| read_policy(path).map(drop))),
            ("policy.revocation_lists", each(self.policy.revocation_lists.as_ref(), directory)),
            ("policy.state_directory", each(self.policy.state_directory.as_ref(), can_be_made)),
            ("kubernetes.kubeconfig", each(self.kubernetes.kubeconfig.as_ref(), readable)),
            ("cri.socket", each(self.cri.socket.as_ref(), socket)),
            ("http.tls", Tls::load(&self.http.tls).map(drop)),
            ("events.file", each(self.events.file.as_ref(), can_be_written)),
        ];
        let problem = |(key, result): (&str, anyhow::Result<()>)| {
            result.err().map(|error| format!("{key}: {error:#}"))
        };
        looked_at.into_iter().filter_map(problem).collect()
    }
}

fn each(path: Option<&PathBuf>, look: impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    path.map_or(Ok(()), |path| look(path))
}

fn readable(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let kind = file.metadata().with_context(|| format!("look at {}", path.display()))?;
    anyhow::ensure!(kind.is_file(), "{} is not a file", path.display());
    Ok(())
}

fn directory(path: &Path) -> anyhow::Result<()> {
    let kind = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    anyhow::ensure!(kind.is_dir(), "{} is not a directory", path.display());
    Ok(())
}

fn socket(path: &Path) -> anyhow::Result<()> {
    let kind = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    anyhow::ensure!(kind.file_type().is_socket(), "{} is not a socket", path.display());
    Ok(())
}

/// A directory, or one that can be made in a directory that is there.
fn can_be_made(path: &Path) -> anyhow::Result<()> {
    let there = path.ancestors().find(|ancestor| ancestor.exists());
    // The first ancestor of a relative path is empty: the current directory.
    there.filter(|there| !there.as_os_str().is_empty()).map_or(Ok(()), directory)
}

/// Standard output, or a file in a directory that is there.
fn can_be_written(path: &Path) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    anyhow::ensure!(!path.is_dir(), "{} is a directory", path.display());
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => directory(parent),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("good.toml"), "[[policies]]\nrequire = \"tls\"\n").unwrap();
        fs::write(path("bad.toml"), "[[policies]]\nrequire = \"yes\"\n").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("cri.sock")).unwrap();
        let at = |key: &str, name: &str| {
            let (section, key) = key.rsplit_once('.').unwrap();
            format!("[{section}]\n{key} = {:?}\n", path(name).to_str().unwrap())
        };
        let tls = format!("{}key = {:?}\n", at("http.tls.certificate", "good.toml"), path("none"));
        for (name, text, words) in [
            ("nothing named", String::new(), None),
            ("a good policy", at("policy.file", "good.toml"), None),
            (
                "a policy is required",
                "[policy]\nrequired = true\n".into(),
                Some("policy.required: "),
            ),
            ("a bad policy", at("policy.file", "bad.toml"), Some("bad.toml:2:11: ")),
            ("no policy", at("policy.file", "none.toml"), Some("policy.file: ")),
            ("no lists", at("policy.revocation_lists", "none"), Some("policy.revocation_lists: ")),
            ("a state directory to be made", at("policy.state_directory", "a/b/c"), None),
            ("one in a file", at("policy.state_directory", "good.toml/x"), Some("not a directory")),
            ("a socket", at("cri.socket", "cri.sock"), None),
            ("no socket", at("cri.socket", "good.toml"), Some("is not a socket")),
            ("no kubeconfig", at("kubernetes.kubeconfig", "none"), Some("kubernetes.kubeconfig: ")),
            ("no cgroup", at("watch.cgroup", "good.toml"), Some("not a directory")),
            ("no certificate", tls, Some("http.tls: ")),
            ("events", at("events.file", "events.jsonl"), None),
            ("events nowhere", at("events.file", "none/events.jsonl"), Some("events.file: ")),
        ] {
            let problems = Config::parse(&text).expect(name).file_problems();
            match (problems.as_slice(), words) {
                ([], None) => {}
                ([problem], Some(words)) => assert!(problem.contains(words), "{name}: {problem}"),
                _ => panic!("{name}: {problems:?}"),
            }
        }
    }
}
