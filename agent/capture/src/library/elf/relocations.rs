//! Words that the dynamic linker fills in: in a position-independent program the file holds zero
//! where an address will be, and the address stands in a relocation.

use std::collections::HashMap;

use object::elf::{R_AARCH64_RELATIVE, R_X86_64_RELATIVE, SHT_RELA};

use super::{Elf, ElfError, Isa};

/// Most relocations that are kept.
const MAX_KEPT: usize = 4096;

/// What is wanted of the relocations of a file, and what was found.
pub type Relocations = HashMap<u64, u64>;

/// The addresses that relative relocations write, by the place they write them to; only those that
/// `wanted(place, address)`.
///
/// # Errors
/// When a table is not where it should be.
pub fn relative(
    elf: &Elf<'_>,
    mut wanted: impl FnMut(u64, u64) -> bool,
) -> Result<Relocations, ElfError> {
    let mut found = Relocations::new();
    each_relative(elf, |place, address| {
        if found.len() < MAX_KEPT && wanted(place, address) {
            found.insert(place, address);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Shows every relative relocation: the place it writes to, and the address that it writes.
///
/// # Errors
/// When a table is not where it should be, or what `look` answers.
pub fn each_relative(
    elf: &Elf<'_>,
    mut look: impl FnMut(u64, u64) -> Result<(), ElfError>,
) -> Result<(), ElfError> {
    const ENTRY: usize = 24;
    let kind = match elf.isa {
        Isa::X86_64 => R_X86_64_RELATIVE,
        Isa::Aarch64 => R_AARCH64_RELATIVE,
    };
    for section in elf.sections.iter().filter(|section| section.kind == SHT_RELA) {
        let whole = section.size - section.size % ENTRY as u64;
        elf.reader.windows((section.offset, whole), 0, |window| {
            for entry in window.bytes.chunks_exact(ENTRY) {
                let word = |at: usize| {
                    let word = entry[at..at + 8].try_into().unwrap_or_default();
                    u64::from_le_bytes(word)
                };
                let (place, address) = (word(0), word(16));
                let is_relative = word(8) & 0xffff_ffff == u64::from(kind);
                if is_relative {
                    look(place, address)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
