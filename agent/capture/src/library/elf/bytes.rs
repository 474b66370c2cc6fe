//! Where a file's bytes come from, and how much of them is looked at.

use std::{
    cell::Cell,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::atomic::{AtomicBool, Ordering},
};

use super::ElfError;

/// Bytes that are read in pieces.
pub trait Bytes {
    /// How many there are.
    ///
    /// # Errors
    /// When the file cannot be examined.
    fn size(&self) -> io::Result<u64>;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When they are not all there.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Bytes for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.size())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }
}

/// A file whose reading ends when nobody waits for it any more.
pub struct Interruptible<'f> {
    /// The file.
    pub file: &'f File,
    /// Set when it is to end.
    pub stop: &'f AtomicBool,
}

impl Bytes for Interruptible<'_> {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.file.read(offset, into)
    }
}

impl Bytes for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = start.checked_add(into.len()).and_then(|end| self.get(start..end));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Bytes that may be looked at of one file, each counted as often as it is: some five times as much
/// as the biggest program that was met (a browser of 300 MB) takes.
const WORK: u64 = 2 << 30;

/// Most bytes that are held at once as one piece.
pub const PIECE: usize = 16 << 20;

/// Size of the windows in which longer ranges are looked through: whole pages, and whole entries of
/// every table that is (of 4, 8 or 24 bytes).
const WINDOW: usize = 240 << 12;

/// A file that is read in pieces, with an account of how much.
///
/// The files of watched processes are hostile: one that lies about its sizes, or is sparse and
/// endless, costs this much work and no more.
pub struct Reader<'b> {
    bytes: &'b dyn Bytes,
    size: u64,
    left: Cell<u64>,
}

/// One window of a range.
#[derive(Clone, Copy)]
pub struct Window<'w> {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'w [u8],
    /// What starts at this index or later comes again with the next window.
    pub fresh: usize,
}

impl<'b> Reader<'b> {
    /// A reader of all of `bytes`.
    ///
    /// # Errors
    /// When the file cannot be examined.
    pub fn new(bytes: &'b dyn Bytes) -> Result<Self, ElfError> {
        Ok(Self { bytes, size: bytes.size()?, left: Cell::new(WORK) })
    }

    /// Size of the file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Accounts for `amount` bytes that are looked at.
    ///
    /// # Errors
    /// When that is more than a file may cost.
    pub fn spend(&self, amount: u64) -> Result<(), ElfError> {
        let left = self.left.get().checked_sub(amount).ok_or(ElfError::TooMuch)?;
        self.left.set(left);
        Ok(())
    }

    /// The bytes of a range, which must lie within the file.
    ///
    /// # Errors
    /// When it does not, or is longer than `PIECE`.
    pub fn piece(&self, offset: u64, len: u64) -> Result<Vec<u8>, ElfError> {
        self.check(offset, len)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= PIECE);
        let len = len.ok_or(ElfError::TooMuch)?;
        self.spend(len as u64)?;
        let mut piece = vec![0; len];
        self.bytes.read(offset, &mut piece)?;
        Ok(piece)
    }

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), ElfError> {
        self.check(offset, into.len() as u64)?;
        self.spend(into.len() as u64)?;
        Ok(self.bytes.read(offset, into)?)
    }

    /// Looks through a range in windows of which neighbours share `overlap` bytes.
    ///
    /// # Errors
    /// When the range does not lie within the file, or what `look` answers.
    pub fn windows(
        &self,
        (offset, len): (u64, u64),
        overlap: usize,
        mut look: impl FnMut(Window<'_>) -> Result<(), ElfError>,
    ) -> Result<(), ElfError> {
        self.check(offset, len)?;
        let end = offset + len;
        let longest = WINDOW + overlap;
        let mut window = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(longest)];
        let mut at = offset;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(longest);
            let fresh = if at + wanted as u64 == end { wanted } else { wanted - overlap };
            self.spend(wanted as u64)?;
            self.bytes.read(at, &mut window[..wanted])?;
            look(Window { offset: at, bytes: &window[..wanted], fresh })?;
            at += fresh as u64;
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), ElfError> {
        let end = offset.checked_add(len).ok_or(ElfError::Damaged("a range"))?;
        if end > self.size { Err(ElfError::Damaged("a range beyond the end")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_show_every_byte_once_as_fresh() {
        for len in [0, 1, WINDOW - 1, WINDOW, WINDOW + 5, 3 * WINDOW + 64] {
            let file: Vec<u8> = (0..len).map(|index| index.to_le_bytes()[0]).collect();
            let bytes = file.as_slice();
            let reader = Reader::new(&bytes).unwrap();
            let mut seen = Vec::new();
            let mut next = 0;
            let look = |window: Window<'_>| {
                assert_eq!(window.offset, next, "{len}");
                let missing = window.bytes.len() - window.fresh;
                assert!(missing == 0 || missing == 64, "{len}");
                seen.extend_from_slice(&window.bytes[..window.fresh]);
                next += window.fresh as u64;
                Ok(())
            };
            reader.windows((0, len as u64), 64, look).unwrap();
            assert!(seen == file, "{len}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let bytes = [0; 16].as_slice();
        let reader = Reader::new(&bytes).unwrap();
        assert!(matches!(reader.piece(8, 9), Err(ElfError::Damaged(_))));
        assert!(matches!(reader.piece(u64::MAX, 2), Err(ElfError::Damaged(_))));
        assert!(reader.piece(8, 8).is_ok());
        assert!(matches!(reader.spend(WORK), Err(ElfError::TooMuch)));
    }
}
