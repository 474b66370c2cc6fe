//! rustls 0.22 and 0.23 inside a program, on x86-64.
//!
//! It hashes its transcript through `Box<dyn crypto::hash::Context>`: whatever the compiler inlines,
//! the calls of `update(self, data)` go through the table of the trait object, which has a look of
//! its own. It holds the size and alignment of the context and four methods, in the order in which
//! the trait declares them (`fork_finish`, `fork`, `finish`, `update`). Of these `fork` alone makes
//! a new context of that size, and only it and the function that starts a hash name the table.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Mnemonic, OpKind, Register};

use super::{Hook, Isa, Linked, PlacedPoints, Placement, Selection, image::Code, x86_64};
use crate::library::elf::{Elf, ElfError, Functions, each_relative};

/// Minor numbers of the releases whose trait has these methods.
const KNOWN: std::ops::RangeInclusive<u32> = 22..=23;
/// Sizes of a context in bytes: ring's takes 224, that of aws-lc 72.
const SIZES: std::ops::RangeInclusive<u64> = 32..=1024;
/// Alignment of a context.
const ALIGNMENT: u64 = 8;
/// Methods of the trait.
const METHODS: usize = 4;
/// Index of the method that makes a copy.
const FORK: usize = 1;
/// Index of the method that hashes.
const UPDATE: usize = 3;
const WORD: u64 = 8;

/// Most words of a program that hold the address of code.
const MAX_WORDS: usize = 2 << 20;
/// Most tables that are looked at closer.
const MAX_TABLES: usize = 1 << 16;
/// Longest method that is walked through.
const MAX_METHOD: u64 = 64 << 10;

/// A table of methods.
struct Table {
    /// Address of its first word, as code names it.
    address: u64,
    methods: [u64; METHODS],
}

/// Places the probe of a program that holds the rustls of this version.
///
/// # Errors
/// When the file is damaged or would take too long.
pub fn place(elf: &Elf<'_>, functions: &Functions, version: &str) -> Result<Linked, ElfError> {
    let name = format!("rustls {version}");
    let unsupported = |what: &str| Ok(Linked::Unsupported(format!("{name}: {what}")));
    if !is_known(version) || elf.isa != Isa::X86_64 {
        return unsupported("not a release and instruction set whose hash is known");
    }
    let mut candidates = Vec::new();
    for table in tables(elf, functions)? {
        if is_like_a_hash(elf, functions, &table)? {
            candidates.push(table);
        }
    }
    let named_by = functions_that_name(elf, functions, &candidates)?;
    candidates.retain(|table| {
        let by = &named_by[&table.address];
        by.len() == 2 && by.contains(&table.methods[FORK])
    });
    let Ok([table]) = <[Table; 1]>::try_from(candidates) else {
        return unsupported("the table of its hash is not told from others");
    };
    let update = table.methods[UPDATE];
    let bytes = method(elf, functions, update)?;
    let body = Code { address: update, bytes: &bytes, is_plt: false };
    let mut points = PlacedPoints::new(elf);
    points.extend(Hook::RustlsUpdate, [elf.isa.instructions().entry(body)])?;
    let placement = Placement {
        points: points.sorted(),
        digest_calls: 1,
        selection: Selection::Structural,
        verify_offsets: None,
    };
    Ok(Linked::Placed { name, placement })
}

/// The version in the path of a source file, which the messages of its panics name:
/// `…/rustls-0.23.46/src/…`.
#[must_use]
pub fn version(bytes: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"/rustls-";
    const AFTER: &[u8] = b"/src/";
    const LONGEST: usize = 16;
    memchr::memmem::find_iter(bytes, BEFORE).find_map(|at| {
        let rest = bytes.get(at + BEFORE.len()..)?;
        let rest = &rest[..rest.len().min(LONGEST + AFTER.len())];
        let version = &rest[..memchr::memmem::find(rest, AFTER)?];
        let is_version = version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let version = std::str::from_utf8(version).ok().filter(|_| is_version)?;
        (version.split('.').count() == 3).then(|| version.to_owned())
    })
}

fn is_known(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    numbers.next() == Some(Some(0)) && numbers.next().flatten().is_some_and(|n| KNOWN.contains(&n))
}

/// The tables of four functions with a size and an alignment that are right.
fn tables(elf: &Elf<'_>, functions: &Functions) -> Result<Vec<Table>, ElfError> {
    let mut words = Vec::new();
    each_relative(elf, |place, address| {
        if elf.is_code(address) {
            words.push((place, address));
        }
        if words.len() > MAX_WORDS { Err(ElfError::TooMuch) } else { Ok(()) }
    })?;
    words.sort_unstable();
    words.dedup();
    let holds_code = |place: u64| words.binary_search_by_key(&place, |word| word.0).is_ok();
    let mut tables = Vec::new();
    let mut looked_at = 0;
    let mut from = 0;
    while from < words.len() {
        let run =
            words[from..].windows(2).take_while(|pair| pair[0].0 + WORD == pair[1].0).count() + 1;
        let (first, run_words) = (words[from].0, &words[from..from + run]);
        from += run;
        // The next table may follow with its destructor: a word, then two that are not code.
        let next = first + METHODS as u64 * WORD;
        let is_one = (run == METHODS && !holds_code(next + 2 * WORD))
            || (run == METHODS + 1 && !holds_code(next + WORD) && !holds_code(next + 2 * WORD));
        let Some(address) = first.checked_sub(3 * WORD).filter(|_| is_one) else { continue };
        looked_at += 1;
        if looked_at > MAX_TABLES {
            return Err(ElfError::TooMuch);
        }
        let Ok(bytes) = elf.at(address, 3 * WORD) else { continue };
        let word = |at: usize| bytes[8 * at..][..8].try_into().map_or(0, u64::from_le_bytes);
        // The destructor's word is zero, too, where the dynamic linker writes it.
        let is_right = word(0) == 0 || holds_code(address);
        let methods = std::array::from_fn(|index| run_words[index].1);
        let is_right = is_right
            && SIZES.contains(&word(1))
            && word(2) == ALIGNMENT
            && methods.iter().all(|method| functions.starts_at(*method));
        if is_right {
            tables.push(Table { address, methods });
        }
    }
    Ok(tables)
}

/// Whether `fork` alone asks for as many bytes as a context has.
fn is_like_a_hash(elf: &Elf<'_>, functions: &Functions, table: &Table) -> Result<bool, ElfError> {
    let distinct: BTreeSet<u64> = table.methods.iter().copied().collect();
    if distinct.len() != METHODS {
        return Ok(false);
    }
    let size = elf.at(table.address + WORD, WORD)?;
    let size = size.try_into().map_or(0, u64::from_le_bytes);
    for (index, start) in table.methods.into_iter().enumerate() {
        let bytes = method(elf, functions, start)?;
        let body = Code { address: start, bytes: &bytes, is_plt: false };
        let mut instructions =
            x86_64::decode(body).take_while(|instruction| !instruction.is_invalid());
        let asks = instructions.any(|instruction| {
            instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_kind() == OpKind::Register
                && instruction.op0_register() == Register::EDI
                && instruction.op1_kind() == OpKind::Immediate32
                && u64::from(instruction.immediate32()) == size
        });
        if asks != (index == FORK) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// For each table the functions with `lea rdx, [rip + table]`: those that return a trait object.
fn functions_that_name(
    elf: &Elf<'_>,
    functions: &Functions,
    tables: &[Table],
) -> Result<BTreeMap<u64, BTreeSet<u64>>, ElfError> {
    const LEA_RDX: &[u8] = b"\x48\x8d\x15";
    const LEN: u64 = 7;
    let mut found: BTreeMap<u64, BTreeSet<u64>> =
        tables.iter().map(|table| (table.address, BTreeSet::new())).collect();
    for segment in elf.code().filter(|_| !tables.is_empty()) {
        elf.reader.windows((segment.offset, segment.size), 16, |window| {
            let address = segment.address + (window.offset - segment.offset);
            for at in memchr::memmem::find_iter(window.bytes, LEA_RDX) {
                let distance =
                    window.bytes.get(at + 3..at + 7).and_then(|four| four.try_into().ok());
                let Some(distance) = distance.map(i32::from_le_bytes) else { continue };
                let here = address + at as u64;
                let named = found.get_mut(&(here + LEN).wrapping_add_signed(distance.into()));
                if let Some((by, (start, _))) = named.zip(functions.around(here)) {
                    by.insert(start);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// The function that starts at `start`, as far as it is walked.
fn method(elf: &Elf<'_>, functions: &Functions, start: u64) -> Result<Vec<u8>, ElfError> {
    let end = functions.around(start).map_or(start, |(_, end)| end);
    let offset = elf.offset_of(start).ok_or(ElfError::Damaged("a method"))?;
    let left = elf.reader.size() - offset;
    elf.reader.piece(offset, end.saturating_sub(start).min(MAX_METHOD).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_the_path_of_a_source_file() {
        for (name, text, expected) in [
            (
                "a panic's place",
                &b"/crates.io-1949/rustls-0.23.46/src/client/hs.rs"[..],
                Some("0.23.46"),
            ),
            ("something else's", b"/tokio-rustls-0.26.4/src/lib.rs", None),
            ("both", b"/tokio-rustls-0.26.4/src/lib.rs /rustls-0.22.4/src/a.rs", Some("0.22.4")),
            ("not released", b"/rustls-0.24.0-dev.0/src/a.rs", None),
            ("cut", b"/rustls-0.23.4", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn only_releases_that_were_looked_at_are_known() {
        for (version, expected) in [
            ("0.21.12", false),
            ("0.22.0", true),
            ("0.23.46", true),
            ("0.24.0", false),
            ("1.23.0", false),
        ] {
            assert_eq!(is_known(version), expected, "{version}");
        }
    }
}
