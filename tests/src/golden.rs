//! Texts that are checked in and compared with what the code makes now.

use std::{env, fs, path::Path};

use anyhow::Context as _;

/// Set by `cargo xtask bless`: texts are written instead of compared.
const BLESS: &str = "HOPSIGHT_BLESS";

/// Compares a file with `expected`, or writes it.
///
/// # Errors
/// When they differ; the message names the first line that does.
pub fn file(path: &Path, expected: &str) -> anyhow::Result<()> {
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    if env::var_os(BLESS).is_some() {
        return fs::write(path, expected).with_context(|| format!("write {}", path.display()));
    }
    let mut lines = found.lines().zip(expected.lines()).enumerate();
    let (number, lines) = lines
        .find(|(_, (found, expected))| found != expected)
        .map_or((found.lines().count().min(expected.lines().count()), None), |(number, lines)| {
            (number, Some(lines))
        });
    let (found, expected) = lines.unwrap_or(("the end of one of both", ""));
    anyhow::bail!(
        "{} line {} differs (`cargo xtask bless` writes it again):\n- {found}\n+ {expected}",
        path.display(),
        number + 1,
    )
}

/// Compares what stands between the lines `<!-- NAME -->` and `<!-- /NAME -->` of a file with
/// `expected`, or writes it.
///
/// # Errors
/// When they differ, or the file has no such lines.
pub fn section(path: &Path, name: &str, expected: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let missing = || format!("find <!-- {name} --> in {}", path.display());
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    file(path, &format!("{before}{begin}{expected}{end}{after}"))
}
