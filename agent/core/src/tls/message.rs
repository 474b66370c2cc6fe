//! Handshake messages (RFC 8446 section 4): type, 24-bit length, body; reassembled across records.

use super::fields::Fields;

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
pub struct MessageReader {
    /// Boxed: most messages lie in one fragment and need none.
    partial: Option<Box<Partial>>,
}

/// A message of which the fragments before had only the beginning.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// It is whole by now, and was handed out.
    is_whole: bool,
}

impl MessageReader {
    /// The next whole message as (type, body). `fragment` is the content of a handshake record (or a
    /// piece of it), from which bytes are taken until there is no whole message left.
    ///
    /// # Errors
    /// If the header there claims what cannot be followed. No memory is taken on its word.
    pub fn next_message<'m, 'f: 'm>(
        &'m mut self,
        fragment: &mut &'f [u8],
    ) -> Result<Option<(u8, &'m [u8])>, MessageError> {
        self.partial.take_if(|partial| partial.is_whole);
        if self.partial.is_none() {
            // Read where it is.
            if let Some(length) = message_length(fragment)?
                && let Some((message, rest)) = fragment.split_at_checked(length)
            {
                *fragment = rest;
                return Ok(Some((message[0], &message[HEADER..])));
            }
            if fragment.is_empty() {
                return Ok(None);
            }
        }
        let partial = self.partial.get_or_insert_default();
        partial.fill(HEADER, fragment);
        let Some(length) = message_length(&partial.bytes)? else { return Ok(None) };
        partial.fill(length, fragment);
        partial.is_whole = partial.bytes.len() == length;
        Ok(partial.is_whole.then(|| (partial.bytes[0], &partial.bytes[HEADER..])))
    }

    /// True if a message has begun and not ended.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.is_whole)
    }

    /// Heap bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes.capacity())
    }
}

impl Partial {
    /// Takes bytes until there are `length`.
    fn fill(&mut self, length: usize, fragment: &mut &[u8]) {
        let missing = length.saturating_sub(self.bytes.len()).min(fragment.len());
        let (taken, rest) = fragment.split_at(missing);
        self.bytes.extend_from_slice(taken);
        *fragment = rest;
    }
}

/// Length of the message at the front, with its header; `None` while that is cut.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, MessageError> {
    let mut fields = Fields::of(bytes);
    let Some([kind]) = fields.array() else { return Ok(None) };
    if !is_handshake_type(kind) {
        return Err(MessageError::UnknownType(kind));
    }
    let Some(length) = fields.length::<3>() else { return Ok(None) };
    if length > MAX_MESSAGE {
        return Err(MessageError::TooLong(length));
    }
    Ok(Some(HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_across_fragments() {
        let mut reader = MessageReader::default();
        let mut fragment = &[14, 0, 0, 0, 20, 0][..];
        assert_eq!(reader.next_message(&mut fragment), Ok(Some((14, &[][..]))));
        assert_eq!(reader.next_message(&mut fragment), Ok(None));
        assert!(reader.is_partial() && fragment.is_empty());
        assert_eq!(reader.next_message(&mut &[0, 2, 7][..]), Ok(None));
        let mut fragment = &[8, 14, 0][..];
        assert_eq!(reader.next_message(&mut fragment), Ok(Some((20, &[7, 8][..]))));
        assert!(!reader.is_partial());
        assert_eq!(reader.next_message(&mut fragment), Ok(None));
        assert!(reader.is_partial() && fragment.is_empty());
    }

    #[test]
    fn a_message_that_was_read_is_not_held() {
        let mut reader = MessageReader::default();
        assert_eq!(reader.next_message(&mut &[20, 0, 1, 0][..]), Ok(None));
        assert!(reader.next_message(&mut &[7; 256][..]).unwrap().is_some());
        assert_eq!(reader.next_message(&mut &[][..]), Ok(None));
        assert_eq!(reader.held(), 0);
    }

    #[test]
    fn a_claim_of_16_mb_takes_no_memory() {
        let mut reader = MessageReader::default();
        let claim = reader.next_message(&mut &[11, 0xff, 0xff, 0xff, 1, 2, 3][..]);
        assert_eq!(claim, Err(MessageError::TooLong(0xff_ffff)));
        assert!(reader.held() < 64);
    }
}
