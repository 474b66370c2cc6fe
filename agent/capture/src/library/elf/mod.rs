//! Reading ELF files of any size in pieces: headers, sections, function starts, relocations.
//!
//! What is read here belongs to watched processes and may be made to mislead: every count is
//! bounded, every range checked, and all work accounted for ([`Reader`]).

mod bytes;
mod relocations;
mod symbols;
mod unwind;

use std::io;

use object::elf::{
    EM_AARCH64, EM_X86_64, ET_DYN, FileHeader64, PF_X, PT_LOAD, PT_NOTE, ProgramHeader64,
    SHT_NOBITS, SectionHeader64,
};
use object::{LittleEndian, pod};
use thiserror::Error;

pub use bytes::{Bytes, Interruptible, Reader, Window};
pub use relocations::{Relocations, each_relative, relative};
pub use symbols::Symbols;
pub use unwind::Functions;

use hopsight_core::model::hex;

/// Most program headers of a file; real ones have about ten.
const MAX_SEGMENTS: u16 = 64;
/// Most section headers of a file; real programs have about forty.
const MAX_SECTIONS: u16 = 4096;
/// Bytes of a section's name that are looked at.
const MAX_NAME: usize = 64;

/// Why a file could not be looked into.
#[derive(Debug, Error)]
pub enum ElfError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Not a 64-bit little-endian ELF file of a known instruction set.
    #[error("not an ELF file of x86_64 or aarch64")]
    Foreign,
    /// It contradicts itself.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// Looking further would take too much time or memory.
    #[error("too big, or made to look so")]
    TooMuch,
}

/// The instruction sets placement can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AMD64 / Intel 64.
    X86_64,
    /// Arm 64-bit.
    Aarch64,
}

/// Where a part of the file goes in memory (`PT_LOAD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Virtual address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// It holds code.
    pub executable: bool,
}

/// A named part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `SHT_*`.
    pub kind: u32,
    /// Virtual address, 0 where it is not loaded.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// The section it refers to (`sh_link`).
    pub link: u32,
}

/// An ELF file of which the headers are read, and the rest when it is asked for.
pub struct Elf<'b> {
    /// Reads the rest.
    pub reader: Reader<'b>,
    /// Instruction set of its code.
    pub isa: Isa,
    /// Loaded parts.
    pub segments: Vec<Segment>,
    /// Named parts; a file may have none.
    pub sections: Vec<Section>,
    /// Notes, as (offset, size).
    notes: Vec<(u64, u64)>,
    /// Its addresses move as a whole when it is loaded.
    pub relocatable: bool,
}

impl<'b> Elf<'b> {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// [`ElfError`] for anything but a 64-bit little-endian ELF file of a known instruction set.
    pub fn open(bytes: &'b dyn Bytes) -> Result<Self, ElfError> {
        const LE: LittleEndian = LittleEndian;
        let reader = Reader::new(bytes)?;
        let size = size_of::<FileHeader64<LittleEndian>>() as u64;
        if reader.size() < size {
            return Err(ElfError::Foreign);
        }
        let header = reader.piece(0, size)?;
        let header: &FileHeader64<LittleEndian> = one(&header)?;
        let isa = match header.e_machine.get(LE) {
            EM_X86_64 => Isa::X86_64,
            EM_AARCH64 => Isa::Aarch64,
            _ => return Err(ElfError::Foreign),
        };
        let ident = header.e_ident;
        if (ident.magic, ident.class, ident.data) != (*b"\x7fELF", 2, 1) {
            return Err(ElfError::Foreign);
        }
        let mut segments = Vec::new();
        let mut notes = Vec::new();
        let count = header.e_phnum.get(LE).min(MAX_SEGMENTS);
        for header in
            table::<ProgramHeader64<LittleEndian>>(&reader, header.e_phoff.get(LE), count)?
        {
            let (offset, size) = (header.p_offset.get(LE), header.p_filesz.get(LE));
            match header.p_type.get(LE) {
                PT_LOAD => segments.push(Segment {
                    address: header.p_vaddr.get(LE),
                    offset,
                    size: size.min(reader.size().saturating_sub(offset)),
                    executable: header.p_flags.get(LE) & PF_X != 0,
                }),
                PT_NOTE => notes.push((offset, size)),
                _ => {}
            }
        }
        let count = header.e_shnum.get(LE).min(MAX_SECTIONS);
        let sections = sections(&reader, header.e_shoff.get(LE), count, header.e_shstrndx.get(LE))?;
        let relocatable = header.e_type.get(LE) == ET_DYN;
        Ok(Self { reader, isa, segments, sections, notes, relocatable })
    }

    /// The section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Executable parts.
    pub fn code(&self) -> impl Iterator<Item = Segment> + '_ {
        self.segments.iter().copied().filter(|segment| segment.executable)
    }

    /// Whether code lies at `address`.
    #[must_use]
    pub fn is_code(&self, address: u64) -> bool {
        self.code().any(|segment| within(address, segment.address, segment.size))
    }

    /// Offset in the file of what is loaded at `address`: what the kernel places uprobes by.
    #[must_use]
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let found = self.segments.iter().find(|s| within(address, s.address, s.size))?;
        found.offset.checked_add(address - found.address)
    }

    /// Where the byte at `offset` of the file is loaded.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let found = self.segments.iter().find(|s| within(offset, s.offset, s.size))?;
        found.address.checked_add(offset - found.offset)
    }

    /// The bytes that are loaded at `address`.
    ///
    /// # Errors
    /// When the file holds none, or not that many.
    pub fn at(&self, address: u64, len: u64) -> Result<Vec<u8>, ElfError> {
        let offset = self.offset_of(address).ok_or(ElfError::Damaged("an address"))?;
        self.reader.piece(offset, len)
    }

    /// The GNU build id in hexadecimal (note `NT_GNU_BUILD_ID`), where the file has one.
    #[must_use]
    pub fn build_id(&self) -> Option<String> {
        self.notes.iter().find_map(|&(offset, size)| {
            let notes = self.reader.piece(offset, size.min(4096)).ok()?;
            build_id(&notes)
        })
    }
}

/// Whether `at` lies in the `size` bytes from `start` on.
fn within(at: u64, start: u64, size: u64) -> bool {
    at.checked_sub(start).is_some_and(|distance| distance < size)
}

fn one<T: pod::Pod>(bytes: &[u8]) -> Result<&T, ElfError> {
    pod::from_bytes(bytes).map(|(value, _)| value).map_err(|()| ElfError::Damaged("a header"))
}

/// `count` entries at `offset`, copied.
fn table<T: pod::Pod>(reader: &Reader<'_>, offset: u64, count: u16) -> Result<Vec<T>, ElfError> {
    let bytes = reader.piece(offset, u64::from(count) * size_of::<T>() as u64)?;
    bytes.chunks_exact(size_of::<T>()).map(|entry| one(entry).copied()).collect()
}

fn sections(
    reader: &Reader<'_>,
    offset: u64,
    count: u16,
    names: u16,
) -> Result<Vec<Section>, ElfError> {
    const LE: LittleEndian = LittleEndian;
    let headers = table::<SectionHeader64<LittleEndian>>(reader, offset, count)?;
    let names = match headers.get(usize::from(names)) {
        Some(names) => reader.piece(names.sh_offset.get(LE), names.sh_size.get(LE))?,
        None => return Ok(Vec::new()),
    };
    let name = |at: u32| {
        let name = names.get(at as usize..).unwrap_or_default();
        let end = name.iter().take(MAX_NAME).position(|byte| *byte == 0).unwrap_or_default();
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    let section = |header: &SectionHeader64<LittleEndian>| {
        let kind = header.sh_type.get(LE);
        let size = if kind == SHT_NOBITS { 0 } else { header.sh_size.get(LE) };
        Section {
            name: name(header.sh_name.get(LE)),
            kind,
            address: header.sh_addr.get(LE),
            offset: header.sh_offset.get(LE),
            size,
            link: header.sh_link.get(LE),
        }
    };
    Ok(headers.iter().map(section).collect())
}

fn build_id(mut notes: &[u8]) -> Option<String> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(word))
    };
    loop {
        let (name, description) = (word(notes, 0)? as usize, word(notes, 4)? as usize);
        let kind = word(notes, 8)?;
        let name_end = 12_usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let bytes = notes.get(name_end..name_end.checked_add(description)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(hex(bytes));
        }
        notes = notes.get(name_end + description.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this() -> std::fs::File {
        std::fs::File::open("/proc/self/exe").unwrap()
    }

    #[test]
    fn this_program_is_read_as_the_object_crate_reads_it() {
        use object::{Object as _, ObjectSection as _};
        let file = this();
        let elf = Elf::open(&file).unwrap();
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let reference = object::File::parse(whole.as_slice()).unwrap();
        for section in reference.sections().filter(|section| section.file_range().is_some()) {
            let name = section.name().unwrap();
            let (offset, size) = section.file_range().unwrap();
            let ours = elf.section(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!((ours.offset, ours.size), (offset, size), "{name}");
        }
        let entry = reference.entry();
        assert!(elf.is_code(entry));
        assert_eq!(elf.offset_of(entry).and_then(|offset| elf.address_of(offset)), Some(entry));
        let id = reference.build_id().unwrap();
        assert_eq!(elf.build_id(), id.map(hex));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let mut other = vec![0; 200];
        for (name, bytes) in [
            ("empty", &[][..]),
            ("text", b"#!/bin/sh\n"),
            ("magic only", b"\x7fELF"),
            ("zeros", &other.clone()),
        ] {
            assert!(matches!(Elf::open(&bytes), Err(ElfError::Foreign)), "{name}");
        }
        other[..6].copy_from_slice(b"\x7fELF\x02\x01");
        other[18] = 62;
        other[56] = 9; // Program headers beyond the end.
        other[32] = 250;
        assert!(matches!(Elf::open(&other.as_slice()), Err(ElfError::Damaged(_))));
    }
}
