//! What placement needs to know of an ELF file: imports, functions, code and file offsets.

use std::{cell::Cell, collections::HashMap, fmt::Write as _};

use object::{
    Architecture, Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _,
    ObjectSymbolTable as _, RelocationTarget, SectionKind, SymbolKind, read::elf::ElfFile64,
};
use thiserror::Error;

use crate::library::elf::Isa;

/// Why a file cannot be read as a library.
#[derive(Debug, Error)]
pub enum ImageError {
    /// Not a 64-bit little-endian ELF file, or a damaged one.
    #[error("not a readable 64-bit ELF file: {0}")]
    Elf(#[from] object::Error),
    /// An instruction set placement does not know.
    #[error("instruction set {0:?} is not supported (x86_64 and aarch64 are)")]
    Architecture(Architecture),
}

/// A run of machine code at its virtual address.
#[derive(Clone, Copy, Debug)]
pub struct Code<'d> {
    /// Virtual address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: &'d [u8],
    /// Holds stubs of the procedure linkage table, not functions.
    pub is_plt: bool,
}

impl Code<'_> {
    /// The part from `start` to `end` (virtual addresses), empty where that is outside.
    #[must_use]
    pub fn slice(&self, start: u64, end: u64) -> Self {
        let at = |address: u64| usize::try_from(address.checked_sub(self.address)?).ok();
        let bytes = match (at(start), at(end)) {
            (Some(from), Some(to)) => self.bytes.get(from..to.min(self.bytes.len())),
            _ => None,
        };
        Self { address: start, bytes: bytes.unwrap_or_default(), is_plt: self.is_plt }
    }

    /// Virtual address after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }
}

/// Bytes of function bodies that one image gives out; OpenSSL 1.1, which raises its errors at a
/// thousand places, takes less than four megabytes of it.
const MAX_WORK: u64 = 64 << 20;

/// A parsed ELF file.
pub struct Image<'d> {
    elf: ElfFile64<'d>,
    /// Instruction set of its code.
    pub isa: Isa,
    /// Executable sections.
    pub code: Vec<Code<'d>>,
    slots: HashMap<&'d str, Vec<u64>>,
    defined: HashMap<&'d str, u64>,
    /// Sorted, unique addresses of function starts.
    functions: Vec<u64>,
    /// What is left of [`MAX_WORK`].
    work: Cell<u64>,
}

impl<'d> Image<'d> {
    /// Reads headers, symbols and relocations of a file.
    ///
    /// # Errors
    /// [`ImageError`] for anything but a 64-bit little-endian ELF file of a known architecture.
    pub fn parse(file: &'d [u8]) -> Result<Self, ImageError> {
        let elf = ElfFile64::parse(file)?;
        let isa = match elf.architecture() {
            Architecture::X86_64 => Isa::X86_64,
            Architecture::Aarch64 => Isa::Aarch64,
            other => return Err(ImageError::Architecture(other)),
        };
        let mut code = Vec::new();
        for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
            let is_plt = section.name().is_ok_and(|name| name.starts_with(".plt"));
            code.push(Code { address: section.address(), bytes: section.data()?, is_plt });
        }
        let slots = import_slots(&elf);
        let mut defined = HashMap::new();
        let mut functions = unwind_starts(&elf).unwrap_or_default();
        for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
            if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
                continue;
            }
            functions.push(symbol.address());
            if let Ok(name) = symbol.name() {
                defined.insert(name, symbol.address());
            }
        }
        functions.sort_unstable();
        functions.dedup();
        let work = Cell::new(MAX_WORK);
        Ok(Self { elf, isa, code, slots, defined, functions, work })
    }

    /// The GNU build id in hexadecimal, where the file has one.
    #[must_use]
    pub fn build_id(&self) -> Option<String> {
        let id = self.elf.build_id().ok().flatten()?;
        let mut text = String::with_capacity(2 * id.len());
        for byte in id {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Some(text)
    }

    /// Whether the dynamic linker would bind `name` to another file for this one.
    #[must_use]
    pub fn imports(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    /// Global offset table entries through which `name` is called.
    #[must_use]
    pub fn slots(&self, name: &str) -> &[u64] {
        self.slots.get(name).map_or(&[], Vec::as_slice)
    }

    /// Address of the function `name` defined here, from either symbol table.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u64> {
        self.defined.get(name).copied()
    }

    /// Bytes of a section, empty where it does not exist.
    #[must_use]
    pub fn section(&self, name: &str) -> &'d [u8] {
        self.elf.section_by_name(name).and_then(|section| section.data().ok()).unwrap_or_default()
    }

    /// The code from the function start at or before `address` to the next function start. Whoever
    /// asks walks through it, so an image gives 64 MiB of them in all, then none: a made-up
    /// function may call what is searched for at twenty thousand places.
    #[must_use]
    pub fn function_around(&self, address: u64) -> Option<Code<'d>> {
        let code = self.code.iter().find(|code| code.address <= address && address < code.end())?;
        let next = self.functions.partition_point(|&start| start <= address);
        let start = next.checked_sub(1).map_or(code.address, |index| self.functions[index]);
        let end = self.functions.get(next).copied().unwrap_or(u64::MAX);
        let body = code.slice(start.max(code.address), end.min(code.end()));
        let left = self.work.get().checked_sub(body.bytes.len() as u64)?;
        self.work.set(left);
        Some(body)
    }

    /// Function bodies of all sections that are not linkage tables, in address order.
    pub fn bodies(&self) -> impl Iterator<Item = Code<'d>> + '_ {
        self.code.iter().filter(|code| !code.is_plt).flat_map(|code| {
            let first = self.functions.partition_point(|&start| start <= code.address);
            let last = self.functions.partition_point(|&start| start < code.end());
            let starts = std::iter::once(code.address).chain(self.functions[first..last].to_vec());
            let ends = self.functions[first..last].iter().copied().chain([code.end()]);
            starts.zip(ends).map(|(start, end)| code.slice(start, end))
        })
    }

    /// File offset of the first instruction of a program.
    #[must_use]
    pub fn entry_offset(&self) -> Option<u64> {
        self.file_offset(self.elf.entry())
    }

    /// File offset of a virtual address: what the kernel places uprobes by.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.elf.segments().find_map(|segment| {
            let (offset, size) = segment.file_range();
            let within = address.checked_sub(segment.address())?;
            (within < size).then_some(offset + within)
        })
    }
}

/// Names of imported functions and the table slots the dynamic linker fills with their addresses.
fn import_slots<'d>(elf: &ElfFile64<'d>) -> HashMap<&'d str, Vec<u64>> {
    let mut slots: HashMap<&str, Vec<u64>> = HashMap::new();
    let Some(symbols) = elf.dynamic_symbol_table() else { return slots };
    for (offset, relocation) in elf.dynamic_relocations().into_iter().flatten() {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let Ok(symbol) = symbols.symbol_by_index(index) else { continue };
        if let Ok(name) = symbol.name() {
            slots.entry(name).or_default().push(offset);
        }
    }
    slots
}

/// Function starts from the binary search table of `.eh_frame_hdr`, which stripping keeps
/// (Linux Standard Base, "Exception Frame Header"). Only the encoding every linker writes is read.
fn unwind_starts(elf: &ElfFile64<'_>) -> Option<Vec<u64>> {
    const VERSION: u8 = 1;
    const POINTER_PCREL_SDATA4: u8 = 0x1b;
    const COUNT_UDATA4: u8 = 0x03;
    const TABLE_DATAREL_SDATA4: u8 = 0x3b;

    let section = elf.section_by_name(".eh_frame_hdr")?;
    let base = section.address();
    let data = section.data().ok()?;
    let (header, table) = data.split_at_checked(12)?;
    if header[..4] != [VERSION, POINTER_PCREL_SDATA4, COUNT_UDATA4, TABLE_DATAREL_SDATA4] {
        return None;
    }
    let starts = table.chunks_exact(8).map(|entry| {
        let relative = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        base.wrapping_add_signed(relative.into())
    });
    Some(starts.collect())
}
