//! Bytes that look encrypted.

/// A generator of evenly spread bytes (xorshift64*), so that failures repeat.
pub struct Spread(pub u64);

impl Spread {
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let word = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()
        };
        let mut bytes: Vec<u8> =
            std::iter::repeat_with(word).take(length.div_ceil(8)).flatten().collect();
        bytes.truncate(length);
        bytes
    }
}
