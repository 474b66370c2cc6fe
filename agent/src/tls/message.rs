//! Handshake messages (RFC 8446 section 4): type, 24-bit length, body; reassembled across records.

use super::buffer::Buffer;

/// Bytes of type and length before a body.
const HEADER: usize = 4;
/// Longest message body kept. Certificate chains of post-quantum keys reach some 100 KiB.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// `HandshakeType` of RFC 8446 section 4 and RFC 5246 section 7.4, as far as it is used here.
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub mod handshake_type {
    pub const HELLO_REQUEST: u8 = 0;
    pub const CLIENT_HELLO: u8 = 1;
    pub const SERVER_HELLO: u8 = 2;
    pub const NEW_SESSION_TICKET: u8 = 4;
    pub const END_OF_EARLY_DATA: u8 = 5;
    pub const HELLO_RETRY_REQUEST_DRAFT: u8 = 6;
    pub const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub const CERTIFICATE: u8 = 11;
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    pub const CERTIFICATE_REQUEST: u8 = 13;
    pub const SERVER_HELLO_DONE: u8 = 14;
    pub const CERTIFICATE_VERIFY: u8 = 15;
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub const FINISHED: u8 = 20;
    pub const CERTIFICATE_STATUS: u8 = 22;
    pub const COMPRESSED_CERTIFICATE: u8 = 25;
    pub const NEXT_PROTOCOL: u8 = 67;
    pub const MESSAGE_HASH: u8 = 254;
}

/// Whether `value` is a message type that any TLS version uses.
#[must_use]
pub const fn is_handshake_type(value: u8) -> bool {
    matches!(value, 0..=6 | 8 | 11..=16 | 20..=25 | 67 | 203 | 254)
}

/// A claim of the peer that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The type is none that TLS has.
    #[error("handshake message of unknown type {0}")]
    UnknownType(u8),
    /// The length is beyond [`MAX_MESSAGE`].
    #[error("handshake message of {0} bytes is longer than is kept")]
    TooLong(usize),
}

/// Collects handshake messages from record fragments.
#[derive(Debug, Default)]
pub struct MessageReader(Buffer);

impl MessageReader {
    /// Appends the content of one handshake record (or a piece of it).
    pub fn extend(&mut self, fragment: &[u8]) {
        self.0.extend(fragment);
    }

    /// The next whole message as (type, body).
    ///
    /// # Errors
    /// If the header there claims what cannot be followed. No memory is taken on its word.
    pub fn next_message(&mut self) -> Result<Option<(u8, &[u8])>, MessageError> {
        let rest = self.0.rest();
        let Some(&kind) = rest.first() else { return Ok(None) };
        if !is_handshake_type(kind) {
            return Err(MessageError::UnknownType(kind));
        }
        let Some(length) = rest.get(1..HEADER) else { return Ok(None) };
        let length =
            usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        if length > MAX_MESSAGE {
            return Err(MessageError::TooLong(length));
        }
        if rest.len() < HEADER + length {
            return Ok(None);
        }
        Ok(Some((kind, &self.0.consume(HEADER + length)[HEADER..])))
    }

    /// True if a message has begun and not ended.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.0.rest().is_empty()
    }

    /// Frees the memory of what was read.
    pub fn release(&mut self) {
        self.0.release();
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.0.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_across_fragments() {
        let mut reader = MessageReader::default();
        reader.extend(&[14, 0, 0, 0, 20, 0]);
        assert_eq!(reader.next_message(), Ok(Some((14, &[][..]))));
        assert_eq!(reader.next_message(), Ok(None));
        assert!(reader.is_partial());
        reader.extend(&[0, 2, 7]);
        assert_eq!(reader.next_message(), Ok(None));
        reader.extend(&[8]);
        assert_eq!(reader.next_message(), Ok(Some((20, &[7, 8][..]))));
        assert!(!reader.is_partial());
    }

    #[test]
    fn a_claim_of_16_mb_takes_no_memory() {
        let mut reader = MessageReader::default();
        reader.extend(&[11, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(reader.next_message(), Err(MessageError::TooLong(0xff_ffff)));
        assert!(reader.held() < 64);
    }
}
