//! Headers and symbols of ELF files.

use std::collections::HashMap;

/// Symbols of global functions, whose code begins at `text`, and their names.
pub fn symbol_table(
    symbols: &[&str],
    places: &HashMap<&'static str, (u64, u64)>,
    text: u64,
) -> (Vec<u8>, Vec<u8>) {
    const GLOBAL_FUNCTION: u8 = 0x12;
    let (mut table, mut names) = (vec![0; 24], vec![0]);
    for symbol in symbols {
        table.extend(u32::try_from(names.len()).unwrap_or_default().to_le_bytes());
        // Of the first section, the code.
        table.extend([GLOBAL_FUNCTION, 0, 1, 0]);
        table.extend((text + places.get(symbol).map_or(0, |place| place.0)).to_le_bytes());
        table.extend([0; 8]);
        names.extend(symbol.as_bytes());
        names.push(0);
    }
    (table, names)
}

/// The header of a section.
pub fn section(name: usize, kind: u32, address: u64, offset: u64, size: usize) -> Vec<u8> {
    let mut header = u32::try_from(name).unwrap_or_default().to_le_bytes().to_vec();
    header.extend(kind.to_le_bytes());
    for word in [0, address, offset, size as u64, 0, 1, 0] {
        header.extend(word.to_le_bytes());
    }
    header
}

/// The header of a segment.
pub fn segment(flags: u32, address: u64, offset: u64, size: u64) -> Vec<u8> {
    let mut header = 1_u32.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    for word in [offset, address, address, size, size, 0x1000] {
        header.extend(word.to_le_bytes());
    }
    header
}
