//! Programs made for tests: ELF files of a few functions, as Go's linker and as a C++ compiler
//! leave them.

mod headers;
mod programs;

use std::collections::HashMap;

use headers::{section, segment, symbol_table};
pub use programs::{boringssl, go_client, openssl, rustls};

/// Where code and data are loaded.
const TEXT: u64 = 0x40_0200;
const TEXT_OFFSET: u64 = 0x200;

const RELOCATIONS: &str = ".rela.dyn";
const SYMBOLS: &str = ".symtab";
const SYMBOL_NAMES: &str = ".strtab";

/// A part of a function.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Machine code.
    Bytes(&'static [u8]),
    /// A direct call of a function.
    Call(&'static str),
    /// `lea rcx, [rip + text]`.
    Lea(&'static str),
    /// `lea rdx, [rip + table]`.
    LeaTable(&'static str),
}

/// A table of methods, as Rust leaves one behind a trait object.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Function that drops the object.
    pub drop: Option<&'static str>,
    /// Size of the object.
    pub size: u64,
    /// Its methods.
    pub methods: Vec<&'static str>,
}

impl Table {
    const fn len(&self) -> u64 {
        8 * (3 + self.methods.len() as u64)
    }
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its code.
    pub code: Vec<Piece>,
}

/// A function of these pieces.
pub fn function(name: &'static str, code: impl IntoIterator<Item = Piece>) -> Function {
    Function { name, code: code.into_iter().collect() }
}

/// A program being made.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Its functions, in order.
    pub functions: Vec<Function>,
    /// Its texts, each ended by a zero.
    pub texts: Vec<&'static str>,
    /// Its tables, one after the other; words with the address of a function are relocated.
    pub tables: Vec<Table>,
    /// 183 for AArch64; anything else is x86-64.
    pub machine: u16,
}

/// A finished file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// File offsets of the calls, by caller and callee, in order.
    pub calls: HashMap<(&'static str, &'static str), Vec<u64>>,
    /// File offsets of the functions.
    pub starts: HashMap<&'static str, u64>,
}

/// A section: name, address, content.
type Section = (&'static str, u64, Vec<u8>);

impl Program {
    /// As Go's linker leaves it: a function table and the version; `module` says that only the
    /// module's data tells where the code begins (Go 1.26).
    #[must_use]
    pub fn go(&self, version: &str, module: bool) -> File {
        let (text, places) = self.code();
        let table_at = Self::data_at(&text);
        let table = self.function_table(&places, if module { 0 } else { TEXT });
        let info_at = table_at + table.len() as u64;
        let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
        info.resize(32, 0);
        info.push(u8::try_from(version.len()).unwrap_or_default());
        info.extend(version.as_bytes());
        info.resize(info.len().next_multiple_of(16), 0);
        let module_at = info_at + info.len() as u64;
        let mut words = [0_u64; 24];
        words[0] = table_at;
        words[20] = TEXT;
        words[22] = TEXT;
        words[23] = TEXT + text.len() as u64;
        let words = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sections = vec![
            (".text", TEXT, text),
            (".gopclntab", table_at, table),
            (".go.buildinfo", info_at, info),
            (".go.module", module_at, words),
        ];
        self.file(&sections, &places)
    }

    /// As a compiler of C leaves it, stripped: code, texts and unwind tables. `marks` come before
    /// the texts.
    #[must_use]
    pub fn c(&self, marks: &[&str]) -> File {
        self.c_with(marks, &[])
    }

    /// The same with the symbols of these functions.
    #[must_use]
    pub fn c_with(&self, marks: &[&str], symbols: &[&str]) -> File {
        let (text, places) = self.code();
        let tables_at = Self::data_at(&text);
        let (tables, relocations) = self.table_bytes(tables_at, &places);
        let texts_at = tables_at + tables.len() as u64;
        let mut texts = self.text_bytes();
        for mark in marks {
            texts.extend(mark.as_bytes());
            texts.push(0);
        }
        texts.resize(texts.len().next_multiple_of(16), 0);
        let unwind_at = texts_at + texts.len() as u64;
        let mut unwind = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0];
        unwind.extend(u32::try_from(self.functions.len()).unwrap_or_default().to_le_bytes());
        for function in &self.functions {
            let relative = (TEXT + places[function.name].0).wrapping_sub(unwind_at);
            unwind.extend(&relative.to_le_bytes()[..4]);
            unwind.extend([0; 4]);
        }
        let relocations_at = unwind_at + unwind.len() as u64;
        let symbols_at = relocations_at + relocations.len() as u64;
        let (symbols, names) = symbol_table(symbols, &places, TEXT);
        let names_at = symbols_at + symbols.len() as u64;
        let sections = vec![
            (".text", TEXT, text),
            (".data.rel.ro", tables_at, tables),
            (".rodata", texts_at, texts),
            (".eh_frame_hdr", unwind_at, unwind),
            (RELOCATIONS, relocations_at, relocations),
            (SYMBOLS, symbols_at, symbols),
            (SYMBOL_NAMES, names_at, names),
        ];
        self.file(&sections, &places)
    }

    fn data_at(text: &[u8]) -> u64 {
        TEXT + (text.len() as u64).next_multiple_of(16)
    }

    /// The tables at this address, and their relocations (`R_X86_64_RELATIVE`).
    fn table_bytes(
        &self,
        at: u64,
        places: &HashMap<&'static str, (u64, u64)>,
    ) -> (Vec<u8>, Vec<u8>) {
        const RELATIVE: u64 = 8;
        const ALIGNMENT: u64 = 8;
        let mut tables = Vec::new();
        let mut relocations = Vec::new();
        for table in &self.tables {
            let methods = table.methods.iter().map(|method| (Some(*method), 0));
            let words = [(table.drop, 0), (None, table.size), (None, ALIGNMENT)];
            for (function, word) in words.into_iter().chain(methods) {
                if let Some(function) = function {
                    let place = at + tables.len() as u64;
                    for word in [place, RELATIVE, TEXT + places[function].0] {
                        relocations.extend(word.to_le_bytes());
                    }
                }
                tables.extend(u64::to_le_bytes(word));
            }
        }
        tables.resize(tables.len().next_multiple_of(16), 0);
        (tables, relocations)
    }

    fn text_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0];
        for text in &self.texts {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    fn size(&self, piece: &Piece) -> u64 {
        match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Call(_) if self.machine == 183 => 4,
            Piece::Call(_) => 5,
            Piece::Lea(_) | Piece::LeaTable(_) => 7,
        }
    }

    /// The code, and of each function where it begins and ends in it.
    fn code(&self) -> (Vec<u8>, HashMap<&'static str, (u64, u64)>) {
        let mut places = HashMap::new();
        let mut at = 0;
        for function in &self.functions {
            let size: u64 = function.code.iter().map(|piece| self.size(piece)).sum();
            places.insert(function.name, (at, at + size.next_multiple_of(16)));
            at += size.next_multiple_of(16);
        }
        let tables_at = TEXT + at.next_multiple_of(16);
        let size: u64 = self.tables.iter().map(Table::len).sum();
        let texts_at = tables_at + size.next_multiple_of(16);
        let mut code: Vec<u8> = Vec::new();
        for function in &self.functions {
            for piece in &function.code {
                let next = code.len() as u64 + self.size(piece);
                match piece {
                    Piece::Bytes(bytes) => code.extend_from_slice(bytes),
                    Piece::Call(callee) if self.machine == 183 => {
                        let words = places[callee].0.wrapping_sub(code.len() as u64) >> 2;
                        let word = u32::try_from(words & 0x03ff_ffff).unwrap_or_default();
                        code.extend((0x9400_0000 | word).to_le_bytes());
                    }
                    Piece::Call(callee) => {
                        code.push(0xe8);
                        code.extend(&places[callee].0.wrapping_sub(next).to_le_bytes()[..4]);
                    }
                    Piece::Lea(text) => {
                        let before = self.texts.iter().take_while(|other| *other != text);
                        let place = 1 + before.map(|text| text.len() as u64 + 1).sum::<u64>();
                        code.extend([0x48, 0x8d, 0x0d]);
                        let distance = (texts_at + place).wrapping_sub(TEXT + next);
                        code.extend(&distance.to_le_bytes()[..4]);
                    }
                    Piece::LeaTable(table) => {
                        let before = self.tables.iter().take_while(|other| other.name != *table);
                        let place: u64 = before.map(Table::len).sum();
                        code.extend([0x48, 0x8d, 0x15]);
                        let distance = (tables_at + place).wrapping_sub(TEXT + next);
                        code.extend(&distance.to_le_bytes()[..4]);
                    }
                }
            }
            // What compilers put between functions.
            let filler = if self.machine == 183 { 0 } else { 0xcc };
            code.resize(code.len().next_multiple_of(16), filler);
        }
        (code, places)
    }

    fn function_table(&self, places: &HashMap<&'static str, (u64, u64)>, text: u64) -> Vec<u8> {
        const HEADER: u64 = 72;
        let short = |number: u64| u32::try_from(number).unwrap_or_default().to_le_bytes();
        let mut names = vec![0];
        let offsets: Vec<u64> = self
            .functions
            .iter()
            .map(|function| {
                let at = names.len() as u64;
                names.extend(function.name.as_bytes());
                names.push(0);
                at
            })
            .collect();
        names.resize(names.len().next_multiple_of(8), 0);
        let count = self.functions.len() as u64;
        let names_at = HEADER;
        let table_at = names_at + names.len() as u64;
        let mut table = 0xffff_fff1_u32.to_le_bytes().to_vec();
        table.extend([0, 0, 1, 8]);
        for word in [count, 0, text, names_at, table_at, table_at, table_at, table_at] {
            table.extend(word.to_le_bytes());
        }
        table.extend(&names);
        let descriptions_at = (count * 8 + 4).next_multiple_of(8);
        for (index, function) in self.functions.iter().enumerate() {
            table.extend(short(places[function.name].0));
            table.extend(short(descriptions_at + 8 * index as u64));
        }
        let end = self.functions.last().map_or(0, |function| places[function.name].1);
        table.extend(short(end));
        let padding = descriptions_at - (count * 8 + 4);
        table.extend(std::iter::repeat_n(0, usize::try_from(padding).unwrap_or_default()));
        for (function, name) in self.functions.iter().zip(offsets) {
            table.extend(short(places[function.name].0));
            table.extend(short(name));
        }
        table.resize(table.len().next_multiple_of(16), 0);
        table
    }

    /// An executable with these sections, the first of which is code.
    fn file(&self, sections: &[Section], places: &HashMap<&'static str, (u64, u64)>) -> File {
        let machine = if self.machine == 183 { 183 } else { 62 };
        let offset_of = |address: u64| address - TEXT + TEXT_OFFSET;
        let text_size = sections[0].2.len() as u64;
        let end = sections.iter().map(|(_, at, bytes)| at + bytes.len() as u64).max();
        let end = end.unwrap_or(TEXT);
        let data = TEXT + text_size;
        let mut names = vec![0];
        let mut headers = vec![vec![0; 64]];
        for (name, address, bytes) in sections {
            let kind = match *name {
                RELOCATIONS => 4,
                SYMBOLS => 2,
                SYMBOL_NAMES => 3,
                _ => 1,
            };
            let mut header = section(names.len(), kind, *address, offset_of(*address), bytes.len());
            if *name == SYMBOLS {
                // Their names are in the section after it.
                let next = u32::try_from(headers.len() + 1).unwrap_or_default();
                header[40..44].copy_from_slice(&next.to_le_bytes());
            }
            headers.push(header);
            names.extend(name.as_bytes());
            names.push(0);
        }
        let names_offset = offset_of(end);
        let own = names.len();
        names.extend(b".shstrtab\0");
        headers.push(section(own, 3, 0, names_offset, names.len()));
        let headers_offset = names_offset + names.len() as u64;
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(u16::to_le_bytes(machine));
        bytes.extend(1_u32.to_le_bytes());
        for word in [TEXT, 64, headers_offset] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        let count = u16::try_from(headers.len()).unwrap_or_default();
        for half in [64, 56, 2, 64, count, count - 1] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(segment(5, TEXT, TEXT_OFFSET, text_size));
        bytes.extend(segment(6, data, offset_of(data), end - data));
        for (_, address, content) in sections {
            bytes.resize(usize::try_from(offset_of(*address)).unwrap_or_default(), 0);
            bytes.extend(content);
        }
        bytes.extend(&names);
        bytes.extend(headers.concat());
        let starts: HashMap<_, _> =
            places.iter().map(|(name, (start, _))| (*name, TEXT_OFFSET + start)).collect();
        File { bytes, calls: self.calls(&starts), starts }
    }

    fn calls(
        &self,
        starts: &HashMap<&'static str, u64>,
    ) -> HashMap<(&'static str, &'static str), Vec<u64>> {
        let mut calls: HashMap<_, Vec<u64>> = HashMap::new();
        for function in &self.functions {
            let mut at = starts[function.name];
            for piece in &function.code {
                if let Piece::Call(callee) = piece {
                    calls.entry((function.name, *callee)).or_default().push(at);
                }
                at += self.size(piece);
            }
        }
        calls
    }
}
