//! TLS stacks that are linked into a program: which there are, and where their probes go.

use std::collections::BTreeSet;

use memchr::memmem;

use super::{Hook, Placement, ProbePoint, boringssl, go, image::Code, openssl, rustls};
use crate::library::elf::{Bytes, Elf, ElfError, Functions};

/// What one stack makes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is not there.
    Absent,
    /// It is there, and its places were not found; what exactly, for a person.
    Unsupported(String),
    /// It is there.
    Placed {
        /// What it is called, such as `Go 1.27.1 crypto/tls`.
        name: String,
        /// Where its probes go.
        placement: Placement,
    },
}

/// What was found in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Of the stack that can be probed, else of the one that should be.
    pub linked: Linked,
    /// The stacks by their marks, most telling first; empty where there is none.
    pub marks: Vec<&'static str>,
    /// GNU build id.
    pub build_id: Option<String>,
}

/// Looks into a program for every stack but rustls.
///
/// # Errors
/// [`ElfError::Foreign`] for what is no program, others where it cannot be read to its end.
pub fn survey(bytes: &dyn Bytes) -> Result<Survey, ElfError> {
    survey_with(bytes, Rustls::LeftAlone)
}

/// Whether rustls is looked for, whose place is found by how a table looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rustls {
    /// It is not.
    #[default]
    LeftAlone,
    /// It is, where there is no other stack.
    LookedFor,
}

/// As [`survey`], also for rustls.
///
/// # Errors
/// As [`survey`].
pub fn survey_with(bytes: &dyn Bytes, rustls: Rustls) -> Result<Survey, ElfError> {
    let elf = Elf::open(bytes)?;
    let mut marks = Marks::read(&elf)?;
    if rustls == Rustls::LeftAlone {
        marks.rustls_version = None;
    }
    let linked = place(&elf, &marks)?;
    Ok(Survey { linked, marks: marks.names(), build_id: elf.build_id() })
}

/// The first stack that can be probed.
fn place(elf: &Elf<'_>, marks: &Marks) -> Result<Linked, ElfError> {
    let mut best = Linked::Absent;
    let mut take = |linked: Linked| {
        let is_placed = matches!(linked, Linked::Placed { .. });
        if is_placed || best == Linked::Absent {
            best = linked;
        }
        is_placed
    };
    if marks.go && take(go::place(elf, marks.go_version.clone())?) {
        return Ok(best);
    }
    if !marks.has_functions() {
        return Ok(best);
    }
    let functions = Functions::read(elf)?;
    if marks.boringssl && take(boringssl::place(elf, &functions)?) {
        return Ok(best);
    }
    if marks.openssl.is_some() || !marks.finish_mac.is_empty() {
        let version = marks.openssl.as_deref();
        if take(openssl::place(elf, &functions, &marks.finish_mac, version)?) {
            return Ok(best);
        }
    }
    if let Some(version) = &marks.rustls_version {
        take(rustls::place(elf, &functions, version)?);
    }
    Ok(best)
}

/// Texts that tell which stacks a program holds.
#[derive(Clone, Debug, Default)]
struct Marks {
    go: bool,
    go_version: Option<String>,
    boringssl: bool,
    rustls: bool,
    /// Of a release, as `0.23.46`.
    rustls_version: Option<String>,
    /// Version text, as `OpenSSL 3.0.22`.
    openssl: Option<String>,
    /// File offsets of [`openssl::NAME_AS_TEXT`].
    finish_mac: Vec<u64>,
}

impl Marks {
    fn read(elf: &Elf<'_>) -> Result<Self, ElfError> {
        const GO: &[u8] = b"\xff Go buildinf:";
        const OVERLAP: usize = 64;
        const MOST: usize = 64;
        let mut marks = Self::default();
        let mut build_infos = Vec::new();
        elf.reader.windows((0, elf.reader.size()), OVERLAP, |window| {
            let bytes = window.bytes;
            let has = |text: &[u8]| memmem::find(bytes, text).is_some();
            marks.boringssl = marks.boringssl || has(b"BoringSSL") || has(b"AWS-LC");
            marks.rustls = marks.rustls || has(b"rustls");
            if marks.rustls_version.is_none() {
                marks.rustls_version = rustls::version(bytes);
            }
            if marks.openssl.is_none() {
                marks.openssl = openssl_version(bytes);
            }
            for (text, found) in
                [(GO, &mut build_infos), (openssl::NAME_AS_TEXT, &mut marks.finish_mac)]
            {
                let fresh = memmem::find_iter(bytes, text).filter(|at| *at < window.fresh);
                let room = MOST.saturating_sub(found.len());
                found.extend(fresh.map(|at| window.offset + at as u64).take(room));
            }
            Ok(())
        })?;
        // Other programs hold the mark without what follows it: those that look for it.
        let section = elf.section(".go.buildinfo").map(|section| section.offset);
        let places = section.into_iter().chain(build_infos);
        marks.go_version = places.into_iter().find_map(|at| go::version(elf, at));
        marks.go = section.is_some() || marks.go_version.is_some();
        Ok(marks)
    }

    /// Whether a stack is there that is looked for by the unwind tables.
    fn has_functions(&self) -> bool {
        self.boringssl
            || self.openssl.is_some()
            || !self.finish_mac.is_empty()
            || self.rustls_version.is_some()
    }

    /// Names, most telling first: a program may hold several, and what it uses is what is rarest
    /// to come along unused. Envoy brings rustls with a library for something else.
    fn names(&self) -> Vec<&'static str> {
        let openssl = self.openssl.is_some() || !self.finish_mac.is_empty();
        let marks = [
            (self.go, "a Go program: crypto/tls"),
            (self.boringssl, "BoringSSL"),
            (openssl, "OpenSSL"),
            (self.rustls, "rustls"),
        ];
        marks.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
    }
}

/// The text `OpenSSL x.y.z`, which OpenSSL carries beside the date.
#[must_use]
pub fn openssl_version(bytes: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"OpenSSL ";
    const LONGEST: usize = 16;
    memmem::find_iter(bytes, NAME).find_map(|at| {
        let version = bytes.get(at + NAME.len()..)?;
        let version = &version[..version.len().min(LONGEST)];
        let end = version.iter().position(|byte| matches!(byte, b' ' | 0))?;
        let version = std::str::from_utf8(&version[..end]).ok()?;
        // Prose names releases too, but not with three numbers.
        let mut numbers = version.split('.');
        let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let is_version = numbers.by_ref().take(3).filter(|number| is_number(number)).count() == 3
            && numbers.next().is_none();
        is_version.then(|| format!("OpenSSL {version}"))
    })
}

/// Probe points of a file that is read in pieces.
pub struct PlacedPoints<'p, 'b> {
    elf: &'p Elf<'b>,
    points: BTreeSet<ProbePoint>,
}

impl<'p, 'b> PlacedPoints<'p, 'b> {
    /// None yet.
    pub fn new(elf: &'p Elf<'b>) -> Self {
        Self { elf, points: BTreeSet::new() }
    }

    /// Adds the instructions at these addresses.
    ///
    /// # Errors
    /// When no code of the file lies there.
    pub fn extend(
        &mut self,
        hook: Hook,
        addresses: impl IntoIterator<Item = u64>,
    ) -> Result<(), ElfError> {
        const LONGEST_INSTRUCTION: u64 = 15;
        for address in addresses {
            let offset = self.elf.offset_of(address).filter(|_| self.elf.is_code(address));
            let offset = offset.ok_or(ElfError::Damaged("a place outside the code"))?;
            let left = self.elf.reader.size() - offset;
            let bytes = self.elf.reader.piece(offset, left.min(LONGEST_INSTRUCTION))?;
            let code = Code { address, bytes: &bytes, is_plt: false };
            let emulated = self.elf.isa.instructions().is_emulated(code);
            self.points.insert(ProbePoint { hook, offset, emulated });
        }
        Ok(())
    }

    /// The points, without duplicates, in order.
    #[must_use]
    pub fn sorted(self) -> Vec<ProbePoint> {
        self.points.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_beside_other_text() {
        for (name, text, expected) in [
            (
                "date follows",
                &b"xx\0OpenSSL 3.0.22 25 Aug 2026\0xxxxxxxxxxxx"[..],
                Some("OpenSSL 3.0.22"),
            ),
            ("letter", b"OpenSSL 1.1.1w  11 Sep 2023\0xxxxxxxxx", Some("OpenSSL 1.1.1w")),
            (
                "prose first",
                b"OpenSSL 3's way\0OpenSSL 3.5.4 30 Sep 2025\0x",
                Some("OpenSSL 3.5.4"),
            ),
            ("prose only", b"OpenSSL library is great, and so is OpenSSL 3.0 in all of this", None),
            ("cut", b"OpenSSL 3.0.2", None),
        ] {
            assert_eq!(openssl_version(text).as_deref(), expected, "{name}");
        }
    }
}
