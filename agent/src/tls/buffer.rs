//! Bytes that are read from the front while more arrive at the back.

/// What was appended and not yet consumed. Consumed bytes go when the next ones come, so that
/// slices of it can be handed out meanwhile.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// Consumed bytes at the front.
    at: usize,
}

impl Buffer {
    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What is not consumed.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Consumes `length` bytes, or what there is, and returns them.
    pub fn consume(&mut self, length: usize) -> &[u8] {
        let start = self.at;
        self.at = start.saturating_add(length).min(self.bytes.len());
        &self.bytes[start..self.at]
    }

    /// Frees what is not needed any more.
    pub fn release(&mut self) {
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.bytes.capacity()
    }
}
