//! Functions by name, where a file has kept their names.

use std::collections::HashMap;

use memchr::memmem;
use object::elf::{SHT_DYNSYM, SHT_SYMTAB, STT_FUNC};

use super::{Elf, ElfError};

/// Most places of one name in a string table: each longer name that ends with it has one.
const MAX_PLACES: usize = 256;

/// Addresses of functions by name.
pub struct Symbols(HashMap<&'static str, u64>);

impl Symbols {
    /// Looks for the functions of these names that the file defines, in both symbol tables.
    ///
    /// # Errors
    /// When a table is not where it should be.
    pub fn find(elf: &Elf<'_>, names: &[&'static str]) -> Result<Self, ElfError> {
        const ENTRY: usize = 24;
        let mut found = HashMap::new();
        for table in elf.sections.iter().filter(|s| matches!(s.kind, SHT_SYMTAB | SHT_DYNSYM)) {
            let Some(strings) = elf.sections.get(table.link as usize) else { continue };
            let places = places(elf, (strings.offset, strings.size), names)?;
            if places.is_empty() {
                continue;
            }
            let whole = table.size - table.size % ENTRY as u64;
            elf.reader.windows((table.offset, whole), 0, |window| {
                for entry in window.bytes.chunks_exact(ENTRY) {
                    let place = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                    let Some(&name) = places.get(&place) else { continue };
                    let is_defined = entry[6..8] != [0, 0];
                    if entry[4] & 0xf == STT_FUNC && is_defined {
                        let address = entry[8..16].try_into().unwrap_or_default();
                        found.entry(name).or_insert(u64::from_le_bytes(address));
                    }
                }
                Ok(())
            })?;
        }
        Ok(Self(found))
    }

    /// Address of a function.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// Where in a string table one of the names ends.
fn places(
    elf: &Elf<'_>,
    (offset, size): (u64, u64),
    names: &[&'static str],
) -> Result<HashMap<u32, &'static str>, ElfError> {
    let longest = names.iter().map(|name| name.len() + 1).max().unwrap_or_default();
    let mut places = HashMap::new();
    elf.reader.windows((offset, size), longest, |window| {
        for name in names {
            for at in memmem::find_iter(window.bytes, name.as_bytes()).take(MAX_PLACES) {
                if at < window.fresh && window.bytes.get(at + name.len()) == Some(&0) {
                    let place = window.offset - offset + at as u64;
                    places.extend(u32::try_from(place).ok().map(|place| (place, *name)));
                }
            }
        }
        Ok(())
    })?;
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_program_are_found_by_name() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        let symbols = Symbols::find(&elf, &["main", "surely_no_such_function"]).unwrap();
        assert!(symbols.get("main").is_some_and(|address| elf.is_code(address)));
        assert_eq!(symbols.get("surely_no_such_function"), None);
    }
}
