//! What a release is made of, for whoever has to trust it: digests, and a statement of where its files
//! come from.
//!
//! The statement is in-toto's with SLSA's predicate, and nobody signs it here: it says what the builder
//! says. A forge signs its own (`.github/workflows/release.yml`).

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use super::{VERSION, architecture, directory, image::sha256, triple};
use crate::{
    bpf,
    command::{output, output_of},
};

/// Who builds, as a URI; a forge sets it.
const BUILDER: &str = "HOPSIGHT_BUILDER";
/// The builder where nobody said.
const NOBODY: &str = "urn:hopsight:builder:local";

/// Writes both about these files and returns where they are; the digests as `sha256sum --check` reads
/// them.
pub(super) fn write(files: &[PathBuf]) -> anyhow::Result<[PathBuf; 2]> {
    let mut subjects = Vec::new();
    let mut sums = String::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).context("name a file")?;
        let digest = sha256(file)?;
        sums += &format!("{digest}  {name}\n");
        subjects.push(format!(r#"{{"name":"{name}","digest":{{"sha256":"{digest}"}}}}"#));
    }
    let dir = directory()?;
    let name = format!("hopsight-{VERSION}-{}", architecture());
    let statement = dir.join(format!("{name}.provenance.json"));
    fs::write(&statement, self::statement(&subjects.join(","))?)
        .with_context(|| format!("write {}", statement.display()))?;
    sums += &format!("{}  {name}.provenance.json\n", sha256(&statement)?);
    let place = dir.join(format!("{name}.sha256"));
    fs::write(&place, sums).with_context(|| format!("write {}", place.display()))?;
    Ok([place, statement])
}

fn statement(subjects: &str) -> anyhow::Result<String> {
    let commit = output("git", &["rev-parse", "HEAD"]).context("ask git for the commit")?;
    let commit = commit.trim();
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    let is_changed = changed.is_none_or(|changed| !changed.trim().is_empty());
    let lock = sha256("Cargo.lock".as_ref())?;
    let builder = env::var(BUILDER).unwrap_or_else(|_| NOBODY.to_owned());
    anyhow::ensure!(is_plain(&builder), "{BUILDER} is no URI: {builder:?}");
    let tools = [
        ("rustc", output_of(Command::new("rustc").arg("--version"))?),
        ("rustc of the kernel programs", output_of(&mut of_kernel_programs())?),
        ("bpf-linker", output_of(Command::new("bpf-linker").arg("--version"))?),
    ];
    let tools = tools.map(|(name, said)| {
        let said = said.lines().next().unwrap_or_default().replace(['"', '\\'], "");
        format!(r#""{name}":"{said}""#)
    });
    let (triple, tools) = (triple(), tools.join(","));
    Ok(format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subjects}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{"buildDefinition":{{"buildType":"urn:hopsight:cargo-xtask-package:v1","externalParameters":{{"task":"cargo xtask package release","version":"{VERSION}","target":"{triple}"}},"internalParameters":{{{tools},"uncommitted changes":{is_changed}}},"resolvedDependencies":[{{"name":"source","digest":{{"gitCommit":"{commit}"}}}},{{"name":"Cargo.lock","digest":{{"sha256":"{lock}"}}}}]}},"runDetails":{{"builder":{{"id":"{builder}"}}}}}}}}"#
    ) + "\n")
}

fn of_kernel_programs() -> Command {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", bpf::toolchain_name(), "rustc", "--version"]);
    rustc
}

/// Whether it can stand in JSON as it is.
fn is_plain(uri: &str) -> bool {
    uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
