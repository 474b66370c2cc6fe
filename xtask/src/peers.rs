//! Programs of others that hopsight is compared with, and that nothing else needs.

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::{
    apt,
    command::{installed, output},
    suite::{KEYRING, MIRROR},
};

/// Where the suite is added that has Suricata.
const LIST: &str = "/etc/apt/sources.list.d/hopsight-backports.list";
/// The first release whose events name certificates of clients.
const OLDEST: u32 = 7;

/// Installs what is missing: Suricata of this release, or of its backports.
///
/// # Errors
/// Where neither has it, or it cannot be installed.
pub fn setup() -> anyhow::Result<()> {
    if suricata() < Some(OLDEST) {
        install()?;
    }
    let found = suricata();
    anyhow::ensure!(found >= Some(OLDEST), "Suricata {OLDEST} is missing after its installation");
    println!("  ok  Suricata {} (only to be compared with)", found.unwrap_or_default());
    Ok(())
}

/// Its major version, if it is there.
fn suricata() -> Option<u32> {
    if !installed("suricata") {
        return None;
    }
    version(&output("suricata", &["-V"])?)
}

/// Of `This is Suricata version 7.0.10 RELEASE`.
fn version(said: &str) -> Option<u32> {
    said.split_once("version ")?.1.split('.').next()?.trim().parse().ok()
}

fn install() -> anyhow::Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = field(&release, "VERSION_CODENAME").unwrap_or("unknown");
    let suite = format!("{codename}-backports");
    // What its package needs may be in the release as well, and too old.
    if apt::codenames().contains(&suite) {
        return apt::install_from(&suite, &["suricata"]);
    }
    apt::update()?;
    let of_release = apt::candidate("suricata");
    let of_release = of_release.and_then(|found| found.split('.').next()?.parse().ok());
    if of_release >= Some(OLDEST) {
        return apt::install(&["suricata"]);
    }
    let is_debian = field(&release, "ID") == Some("debian");
    anyhow::ensure!(is_debian, "this release has no Suricata {OLDEST}: install it by hand");
    anyhow::ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing (debian-archive-keyring)");
    let which = format!("Codename: {codename}");
    let uris = output("apt-get", &["indextargets", "--format", "$(REPO_URI)", &which]);
    let archive = uris.as_deref().and_then(|uris| uris.lines().next()).unwrap_or(MIRROR);
    println!("  adding {suite} to apt's sources ({LIST})");
    fs::write(LIST, format!("deb [signed-by={KEYRING}] {archive} {suite} main\n"))
        .with_context(|| format!("write {LIST} (this takes root)"))?;
    apt::install_from(&suite, &["suricata"])
}

/// A field of os-release(5), without quotes.
fn field<'r>(release: &'r str, name: &str) -> Option<&'r str> {
    let of_line = |line: &'r str| line.strip_prefix(name)?.strip_prefix('=');
    release.lines().find_map(of_line).map(|value| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_fields_are_read() {
        assert_eq!(version("This is Suricata version 7.0.10 RELEASE\n"), Some(7));
        assert_eq!(version("suricata: command not found"), None);
        let release = "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(field(release, "ID"), Some("debian"));
        assert_eq!(field(release, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(field(release, "VERSION"), None);
    }
}
