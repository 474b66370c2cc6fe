//! The TLS record layer (RFC 8446 section 5.1, RFC 5246 section 6.2), walked header by header so
//! that a capped prefix is read as far as it goes.

use crate::vocabulary;

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

/// Cuts the bytes of one direction into records. It holds none of them: those it has not taken are
/// shown again once more have come.
#[derive(Debug, Default)]
pub struct RecordReader {
    /// Payload bytes of the current record that were not read yet.
    remaining: u16,
}

impl RecordReader {
    /// True between a header and the last byte of its payload.
    #[must_use]
    pub const fn in_record(&self) -> bool {
        self.remaining > 0
    }

    /// Takes the header that [`RecordHeader::parse`] read from the front of `bytes`.
    pub fn begin(&mut self, header: RecordHeader, bytes: &mut &[u8]) {
        *bytes = bytes.get(HEADER..).unwrap_or_default();
        self.remaining = header.length;
    }

    /// Takes what is there of the current record's payload; it may come in several pieces.
    pub fn read<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(self.remaining)));
        *bytes = rest;
        // Never more than what remained.
        self.remaining -= u16::try_from(piece.len()).unwrap_or(self.remaining);
        piece
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
        let mut bytes = &[0x17, 3, 3, 0, 4, 1, 2][..];
        let header = RecordHeader::parse(bytes).unwrap().unwrap();
        reader.begin(header, &mut bytes);
        assert_eq!(reader.read(&mut bytes), [1, 2]);
        assert!(reader.in_record() && bytes.is_empty());
        let mut bytes = &[3, 4, 0x15, 3, 3, 0, 2][..];
        assert_eq!(reader.read(&mut bytes), [3, 4]);
        assert!(!reader.in_record());
        let header = RecordHeader::parse(bytes).unwrap().unwrap();
        assert_eq!(header.content_type, ContentType::Alert);
    }
}
