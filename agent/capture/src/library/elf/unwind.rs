//! Where functions start, by the unwind tables, which stripping keeps.

use super::{Elf, ElfError};

/// Most functions of a file: eight times as many as Envoy has.
const MAX_FUNCTIONS: u64 = 2 << 20;

/// The starts of functions, sorted.
pub struct Functions {
    starts: Vec<u64>,
}

impl Functions {
    /// Reads the binary search table of `.eh_frame_hdr` (Linux Standard Base, "Exception Frame
    /// Header"). Only the encoding every linker writes is read; without it there are no functions.
    ///
    /// # Errors
    /// When the table is not where it should be, or has too many entries.
    pub fn read(elf: &Elf<'_>) -> Result<Self, ElfError> {
        /// Version 1, pointer pcrel|sdata4, count udata4, table datarel|sdata4.
        const ENCODING: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
        const ENTRY: u64 = 8;
        let mut starts = Vec::new();
        let Some(section) = elf.section(".eh_frame_hdr").filter(|section| section.size >= 12)
        else {
            return Ok(Self { starts });
        };
        let header = elf.reader.piece(section.offset, 12)?;
        if header[..4] != ENCODING {
            return Ok(Self { starts });
        }
        let count = (section.size - 12) / ENTRY;
        if count > MAX_FUNCTIONS {
            return Err(ElfError::TooMuch);
        }
        starts.reserve_exact(usize::try_from(count).unwrap_or_default());
        elf.reader.windows((section.offset + 12, count * ENTRY), 0, |window| {
            starts.extend(window.bytes.chunks_exact(8).map(|entry| {
                let relative = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                section.address.wrapping_add_signed(relative.into())
            }));
            Ok(())
        })?;
        // The linker sorts it; who made this one is not known.
        starts.sort_unstable();
        starts.dedup();
        Ok(Self { starts })
    }

    /// Whether a function starts at `address`.
    #[must_use]
    pub fn starts_at(&self, address: u64) -> bool {
        self.starts.binary_search(&address).is_ok()
    }

    /// The start of the function around `address`, and that of the next one.
    #[must_use]
    pub fn around(&self, address: u64) -> Option<(u64, u64)> {
        let next = self.starts.partition_point(|start| *start <= address);
        let start = *self.starts.get(next.checked_sub(1)?)?;
        Some((start, self.starts.get(next).copied().unwrap_or(u64::MAX)))
    }

    /// Whether none is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}
