//! Numbers and fields that say how long they are, read from the front of bytes that may be cut.

/// What is left of the bytes. Where too few are left for what is asked, nothing is taken.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes that were not taken.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Takes this many bytes.
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes as many bytes as the array has.
    pub fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Takes a number of two bytes, the highest first.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a length of this many bytes (1 to 3), the highest first (RFC 8446 section 3.3).
    pub fn length<const BYTES: usize>(&mut self) -> Option<usize> {
        const { assert!(1 <= BYTES && BYTES <= 3) };
        let digits: [u8; BYTES] = self.array()?;
        Some(digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
    }

    /// Takes a field with its length before it, as [`length`](Self::length) reads that (RFC 8446
    /// section 3.4).
    pub fn prefixed<const BYTES: usize>(&mut self) -> Option<&'a [u8]> {
        let mut after = *self;
        let length = after.length::<BYTES>()?;
        let field = after.bytes(length)?;
        *self = after;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_not_taken() {
        const BYTES: &[u8] = b"\x02ab\0\x01c\0\0\x02de\x12\x34";
        for length in 0..=BYTES.len() {
            let mut fields = Fields::of(&BYTES[..length]);
            let whole = |end: usize| length >= end;
            assert_eq!(fields.prefixed::<1>(), whole(3).then_some(&b"ab"[..]), "{length}");
            if !whole(3) {
                assert_eq!(fields.rest(), &BYTES[..length]);
                continue;
            }
            assert_eq!(fields.prefixed::<2>(), whole(6).then_some(&b"c"[..]), "{length}");
            if !whole(6) {
                assert_eq!(fields.rest(), &BYTES[3..length]);
                continue;
            }
            assert_eq!(fields.prefixed::<3>(), whole(11).then_some(&b"de"[..]), "{length}");
            if whole(11) {
                assert_eq!(fields.u16(), whole(13).then_some(0x1234), "{length}");
            }
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_no_field() {
        assert_eq!(Fields::of(&[0xff; 8]).prefixed::<3>(), None);
        assert_eq!(Fields::of(b"").prefixed::<1>(), None);
        assert_eq!(Fields::of(b"\0").prefixed::<1>(), Some(&b""[..]));
    }
}
