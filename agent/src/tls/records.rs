//! The TLS record layer (RFC 8446 section 5.1, RFC 5246 section 6.2), walked header by header so
//! that a capped prefix is read as far as it goes.

use super::buffer::Buffer;
use crate::model::vocabulary;

/// Longest record payload any version allows (RFC 5246 section 6.2.3: 2^14 + 2048).
pub const MAX_RECORD: u16 = (1 << 14) + 2048;
/// Bytes of a record header.
pub const HEADER: usize = 5;

vocabulary! {
    /// `ContentType` of RFC 8446 section 5.1 and RFC 6520.
    ContentType {
        /// 20
        ChangeCipherSpec => "change_cipher_spec",
        /// 21
        Alert => "alert",
        /// 22
        Handshake => "handshake",
        /// 23
        ApplicationData => "application_data",
        /// 24
        Heartbeat => "heartbeat",
    }
}

impl ContentType {
    /// From its number.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            24 => Self::Heartbeat,
            _ => return None,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
            Self::Heartbeat => 24,
        }
    }
}

/// A record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the payload is; for protected TLS 1.3 records always application data.
    pub content_type: ContentType,
    /// Payload length in bytes.
    pub length: u16,
}

/// The bytes are not a TLS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a TLS record header")]
pub struct NotARecord;

impl RecordHeader {
    /// Reads the header at the beginning of `bytes`; `Ok(None)` while bytes are missing.
    ///
    /// # Errors
    /// If the bytes that are there cannot begin a record.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, NotARecord> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let content_type = ContentType::from_u8(first).ok_or(NotARecord)?;
        // SSL 3.0 up to TLS 1.3 have major version 3; 1.3 freezes the minor at 1 or 3. Drafts
        // and probes for intolerance went up to 3.4 and 3.5, never beyond.
        if bytes.get(1).is_some_and(|&major| major != 3)
            || bytes.get(2).is_some_and(|&minor| minor > 5)
        {
            return Err(NotARecord);
        }
        let Some(length) = bytes.get(3..5) else { return Ok(None) };
        let length = u16::from_be_bytes([length[0], length[1]]);
        if length > MAX_RECORD {
            return Err(NotARecord);
        }
        Ok(Some(Self { content_type, length }))
    }
}

/// Bytes of one direction, cut into records.
#[derive(Debug, Default)]
pub struct RecordReader {
    buffer: Buffer,
    /// Payload bytes of the current record that were not read yet.
    remaining: u16,
}

impl RecordReader {
    /// Appends bytes in stream order.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// True between a header and the last byte of its payload.
    #[must_use]
    pub const fn in_record(&self) -> bool {
        self.remaining > 0
    }

    /// The next header, without consuming it. Call it between records.
    ///
    /// # Errors
    /// If the bytes there are not a record.
    pub fn peek(&self) -> Result<Option<RecordHeader>, NotARecord> {
        RecordHeader::parse(self.buffer.rest())
    }

    /// Consumes the header that [`RecordReader::peek`] showed.
    pub fn begin(&mut self, header: RecordHeader) {
        self.buffer.consume(HEADER);
        self.remaining = header.length;
    }

    /// Consumes what is there of the current record's payload; it may come in several pieces.
    pub fn read(&mut self) -> &[u8] {
        let bytes = self.buffer.consume(usize::from(self.remaining));
        // No more than was asked for.
        self.remaining -= u16::try_from(bytes.len()).unwrap_or(self.remaining);
        bytes
    }

    /// Frees the memory of what was read.
    pub fn release(&mut self) {
        self.buffer.release();
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.buffer.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        type Case<'a> = (&'a str, &'a [u8], Result<Option<RecordHeader>, NotARecord>);
        let ok = |content_type, length| Ok(Some(RecordHeader { content_type, length }));
        let cases: &[Case<'_>] = &[
            ("empty", &[], Ok(None)),
            ("one byte", &[0x16], Ok(None)),
            ("handshake", &[0x16, 3, 1, 0, 5], ok(ContentType::Handshake, 5)),
            ("application data", &[0x17, 3, 3, 0x40, 9], ok(ContentType::ApplicationData, 0x4009)),
            ("too long", &[0x17, 3, 3, 0x48, 1], Err(NotARecord)),
            ("wrong type", b"GET /", Err(NotARecord)),
            ("wrong major", &[0x16, 2], Err(NotARecord)),
            ("wrong minor", &[0x16, 3, 9], Err(NotARecord)),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(RecordHeader::parse(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn a_payload_comes_in_as_many_pieces_as_its_bytes() {
        let mut reader = RecordReader::default();
        reader.extend(&[0x17, 3, 3, 0, 4, 1, 2]);
        let header = reader.peek().unwrap().unwrap();
        reader.begin(header);
        assert_eq!(reader.read(), [1, 2]);
        assert!(reader.in_record());
        reader.extend(&[3, 4, 0x15, 3, 3, 0, 2]);
        assert_eq!(reader.read(), [3, 4]);
        assert!(!reader.in_record());
        assert_eq!(reader.peek().unwrap().unwrap().content_type, ContentType::Alert);
    }
}
