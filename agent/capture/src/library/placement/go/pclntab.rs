//! The function table of a Go program, which stripping keeps: the runtime needs it for its stacks
//! (`runtime.pcHeader` and `runtime.moduledata`, runtime/symtab.go; cmd/link/internal/ld/pcln.go).

use std::collections::HashMap;

use memchr::memmem;

use crate::library::elf::{Elf, ElfError, relative};

/// Magic numbers by the Go release from which on they are written: 1.18 and 1.20.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// Bytes of the header: magic, two zeros, the unit of code, the size of a pointer, eight words.
const HEADER: u64 = 72;
/// Sections the linkers put it into.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Most functions of a program: ten times as many as Caddy has.
const MAX_FUNCTIONS: u64 = 1 << 20;
/// Most functions of which the name is kept.
const MAX_NAMED: usize = 8192;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 256;

/// A function that was asked for by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its full name, such as `crypto/tls.(*Conn).readHandshake`.
    pub name: String,
    /// Address of its first instruction.
    pub start: u64,
    /// Address of the next function.
    pub end: u64,
}

/// The function table.
pub struct FunctionTable {
    /// Address that the entries count from (`runtime.text`).
    text: u64,
    /// Entries as distance from `text` and offset of the description, in order; the last one is
    /// the end of the last function.
    entries: Vec<(u32, u32)>,
    /// File offset of what the entries' offsets count from.
    base: u64,
    /// File offset and size of the names.
    names: (u64, u64),
}

/// The words of the header that are used.
struct Header {
    functions: u64,
    text: u64,
    names: u64,
    units: u64,
    table: u64,
}

impl FunctionTable {
    /// Reads the table; `None` where the file has none of a known form.
    ///
    /// # Errors
    /// When it contradicts itself, or is too big.
    pub fn read(elf: &Elf<'_>) -> Result<Option<Self>, ElfError> {
        let Some((offset, header)) = locate(elf)? else { return Ok(None) };
        if header.functions == 0 || header.functions > MAX_FUNCTIONS {
            return Err(ElfError::TooMuch);
        }
        let at = |distance: u64| {
            offset.checked_add(distance).ok_or(ElfError::Damaged("the function table's header"))
        };
        let names = header.units.checked_sub(header.names);
        let names = (at(header.names)?, names.ok_or(ElfError::Damaged("the function names"))?);
        let base = at(header.table)?;
        let words = elf.reader.piece(base, header.functions * 8 + 4)?;
        let word = |at: usize| {
            let word = words.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map_or(0, u32::from_le_bytes)
        };
        let entries: Vec<_> =
            (0..words.len()).step_by(8).map(|at| (word(at), word(at + 4))).collect();
        if !entries.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(ElfError::Damaged("functions out of order"));
        }
        let text = text_start(elf, offset, &header, entries[0].0)?;
        let Some(text) = text.filter(|text| elf.is_code(*text)) else { return Ok(None) };
        Ok(Some(Self { text, entries, base, names }))
    }

    /// The start of the function around `address`, and that of the next one.
    #[must_use]
    pub fn around(&self, address: u64) -> Option<(u64, u64)> {
        let distance = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let next = self.entries.partition_point(|(start, _)| *start <= distance);
        let (start, end) = (self.entries.get(next.checked_sub(1)?)?, self.entries.get(next)?);
        Some((self.text + u64::from(start.0), self.text + u64::from(end.0)))
    }

    /// First address of all functions, and the one after the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let [first, last] = [self.entries.first(), self.entries.last()]
            .map(|entry| self.text + entry.map_or(0, |entry| u64::from(entry.0)));
        (first, last)
    }

    /// The functions of the package with this path, and those with these names.
    ///
    /// # Errors
    /// When the table leads out of the file.
    pub fn named(
        &self,
        elf: &Elf<'_>,
        package: &str,
        names: &[&str],
    ) -> Result<Vec<Function>, ElfError> {
        let wanted = self.name_offsets(elf, package, names)?;
        let mut functions = Vec::new();
        let mut near = Near { elf, offset: 0, bytes: Vec::new() };
        for pair in self.entries.windows(2) {
            // A description begins with the entry and the offset of the name.
            let description = near.word(self.base + u64::from(pair[0].1) + 4)?;
            let Some(name) = wanted.get(&description) else { continue };
            functions.push(Function {
                name: name.clone(),
                start: self.text + u64::from(pair[0].0),
                end: self.text + u64::from(pair[1].0),
            });
            if functions.len() > MAX_NAMED {
                return Err(ElfError::TooMuch);
            }
        }
        Ok(functions)
    }

    fn name_offsets(
        &self,
        elf: &Elf<'_>,
        package: &str,
        names: &[&str],
    ) -> Result<HashMap<u32, String>, ElfError> {
        let beginnings = std::iter::once(format!("\0{package}."));
        let whole = names.iter().map(|name| format!("\0{name}\0"));
        let patterns: Vec<String> = beginnings.chain(whole).collect();
        let mut found = HashMap::new();
        elf.reader.windows(self.names, MAX_NAME, |window| {
            for pattern in &patterns {
                for at in memmem::find_iter(window.bytes, pattern.as_bytes()) {
                    if at >= window.fresh {
                        break;
                    }
                    let name = &window.bytes[at + 1..];
                    let end = name.iter().take(MAX_NAME).position(|byte| *byte == 0);
                    let Some(end) = end else { continue };
                    let place = window.offset - self.names.0 + at as u64 + 1;
                    let name = String::from_utf8_lossy(&name[..end]).into_owned();
                    found.extend(u32::try_from(place).ok().map(|place| (place, name)));
                    if found.len() > MAX_NAMED {
                        return Err(ElfError::TooMuch);
                    }
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads words that lie one after the other, mostly.
struct Near<'e, 'b> {
    elf: &'e Elf<'b>,
    offset: u64,
    bytes: Vec<u8>,
}

impl Near<'_, '_> {
    fn word(&mut self, offset: u64) -> Result<u32, ElfError> {
        const AHEAD: u64 = 256 << 10;
        let is_held = offset.checked_sub(self.offset);
        let is_held = is_held.is_some_and(|at| at + 4 <= self.bytes.len() as u64);
        if !is_held {
            let left = self.elf.reader.size().saturating_sub(offset);
            self.bytes = self.elf.reader.piece(offset, left.min(AHEAD))?;
            self.offset = offset;
        }
        let at = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
        let word = self.bytes.get(at..at.saturating_add(4)).and_then(|word| word.try_into().ok());
        word.map(u32::from_le_bytes).ok_or(ElfError::Damaged("the end of the function table"))
    }
}

/// The header by its section or, where sections are gone, by its looks.
fn locate(elf: &Elf<'_>) -> Result<Option<(u64, Header)>, ElfError> {
    if let Some(section) = SECTIONS.iter().find_map(|name| elf.section(name)) {
        let offset = section.offset;
        return Ok(header(&elf.reader.piece(offset, HEADER)?).map(|header| (offset, header)));
    }
    if !elf.sections.is_empty() {
        return Ok(None);
    }
    let mut found = None;
    for segment in elf.segments.iter().filter(|segment| !segment.executable) {
        elf.reader.windows((segment.offset, segment.size), 80, |window| {
            for magic in MAGICS.map(u32::to_le_bytes) {
                let mut places = memmem::find_iter(window.bytes, &magic);
                let place = places.find_map(|at| Some((at, header(&window.bytes[at..])?)));
                let place = place.map(|(at, header)| (window.offset + at as u64, header));
                found = found.take().or(place);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn header(bytes: &[u8]) -> Option<Header> {
    let bytes: &[u8; 72] = bytes.first_chunk()?;
    let magic = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let known = MAGICS.contains(&magic) && matches!(bytes[4..8], [0, 0, 1 | 4, 8]);
    let word = |index: usize| {
        let word = bytes[8 + 8 * index..][..8].try_into().unwrap_or_default();
        u64::from_le_bytes(word)
    };
    known.then(|| Header {
        functions: word(0),
        text: word(2),
        names: word(3),
        units: word(4),
        table: word(7),
    })
}

/// The address that entries count from. Up to Go 1.25 the header has it, or a relocation writes it
/// there; later it is zero, and only the module's data tells. `.text` is no substitute: a program
/// that was linked externally begins with C.
fn text_start(
    elf: &Elf<'_>,
    offset: u64,
    header: &Header,
    first: u32,
) -> Result<Option<u64>, ElfError> {
    const TEXT_IN_HEADER: u64 = 24;
    if header.text != 0 {
        return Ok(Some(header.text));
    }
    let Some(table) = elf.address_of(offset) else { return Ok(None) };
    let in_header = table + TEXT_IN_HEADER;
    let relocated = relative(elf, |place, address| place == in_header || address == table)?;
    if let Some(text) = relocated.get(&in_header) {
        return Ok(Some(*text));
    }
    let section = elf.section(".go.module").map(|section| section.address);
    let pointing = relocated.iter().filter(|(_, address)| **address == table);
    let mut candidates: Vec<u64> = section.into_iter().chain(pointing.map(|(at, _)| *at)).collect();
    candidates.extend(words_equal(elf, table)?);
    for candidate in candidates {
        if let Some(text) = text_of_module(elf, candidate, table, first)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Addresses of words outside the code that hold `value`.
fn words_equal(elf: &Elf<'_>, value: u64) -> Result<Vec<u64>, ElfError> {
    const MOST: usize = 64;
    let mut found = Vec::new();
    for segment in elf.segments.iter().filter(|segment| !segment.executable) {
        elf.reader.windows((segment.offset, segment.size), 8, |window| {
            for at in memmem::find_iter(window.bytes, &value.to_le_bytes()) {
                let address = segment.address + (window.offset - segment.offset) + at as u64;
                if address.is_multiple_of(8) && found.len() < MOST {
                    found.push(address);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// `runtime.text` of the module data at `address`, if that is what lies there: it points to the
/// function table, and its lowest address is where the table's first function is.
fn text_of_module(
    elf: &Elf<'_>,
    address: u64,
    table: u64,
    first: u32,
) -> Result<Option<u64>, ElfError> {
    const WORDS: u64 = 24;
    const MIN_PC: usize = 20;
    const TEXT: usize = 22;
    const END: usize = 23;
    let Ok(bytes) = elf.at(address, WORDS * 8) else { return Ok(None) };
    let end = address + WORDS * 8;
    let relocated = relative(elf, |place, _| (address..end).contains(&place))?;
    let word = |index: usize| {
        let in_file = bytes[8 * index..][..8].try_into().map_or(0, u64::from_le_bytes);
        relocated.get(&(address + 8 * index as u64)).copied().unwrap_or(in_file)
    };
    let (text, lowest) = (word(TEXT), word(MIN_PC));
    let is_module = word(0) == table
        && text < word(END)
        && text.checked_add(first.into()).is_some_and(|expected| expected == lowest);
    Ok(is_module.then_some(text))
}
