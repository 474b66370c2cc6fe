//! A window over any input, of constant size: what is looked at lies in it, what is not is passed
//! over.

use std::io::{self, Read};

/// Most bytes that can be looked at at once.
pub const WINDOW: usize = 1 << 20;

/// Reads an input forwards.
pub struct Input {
    source: Box<dyn Read + Send>,
    window: Box<[u8]>,
    /// The part of the window that was read and not passed yet.
    start: usize,
    end: usize,
    read: u64,
}

impl Input {
    /// At the beginning of `source`.
    pub fn new(source: impl Read + Send + 'static) -> Self {
        let window = vec![0; WINDOW].into_boxed_slice();
        Self { source: Box::new(source), window, start: 0, end: 0, read: 0 }
    }

    /// Bytes read so far, those ahead of the position included.
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// The next `length` bytes without passing them, fewer where the input ends or the window does.
    pub fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.end - self.start < length {
            self.fill(length)?;
        }
        let end = self.end.min(self.start.saturating_add(length));
        Ok(&self.window[self.start..end])
    }

    /// The next `length` bytes, passing them; fewer where the input ends or the window does.
    pub fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let taken = self.peek(length)?.len();
        let start = self.start;
        self.start += taken;
        Ok(&self.window[start..self.start])
    }

    /// Passes `length` bytes; false if the input ends before.
    pub fn skip(&mut self, mut length: u64) -> io::Result<bool> {
        while length > 0 {
            let step = usize::try_from(length).unwrap_or(WINDOW).min(WINDOW);
            let passed = self.take(step)?.len();
            if passed == 0 {
                return Ok(false);
            }
            length -= passed as u64;
        }
        Ok(true)
    }

    /// Makes `length` bytes lie in the window, if the input has them and the window has room.
    #[cold]
    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.window.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < length.min(WINDOW) {
            match self.source.read(&mut self.window[self.end..]) {
                Ok(0) => break,
                Ok(read) => {
                    self.end += read;
                    self.read += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte per call, as a slow pipe may.
    struct Dripping(u32);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Ok(0);
            }
            self.0 -= 1;
            buffer[0] = self.0.to_le_bytes()[0];
            Ok(1)
        }
    }

    #[test]
    fn bytes_come_in_order_however_they_arrive() {
        let mut input = Input::new(Dripping(10));
        assert_eq!(input.peek(4).unwrap(), [9, 8, 7, 6]);
        assert_eq!(input.take(2).unwrap(), [9, 8]);
        assert!(input.skip(3).unwrap());
        assert_eq!(input.take(9).unwrap(), [4, 3, 2, 1, 0]);
        assert!(input.take(1).unwrap().is_empty());
        assert!(!input.skip(1).unwrap());
        assert_eq!(input.read(), 10);
    }

    #[test]
    fn more_than_the_window_is_passed_and_not_held() {
        let length = 5 * WINDOW as u64 + 3;
        let mut input = Input::new(io::repeat(7).take(length + 1));
        assert!(input.skip(length).unwrap());
        assert_eq!(input.take(2 * WINDOW).unwrap(), [7]);
    }
}
