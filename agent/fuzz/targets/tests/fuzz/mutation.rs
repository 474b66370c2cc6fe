//! Changes of inputs as fuzzers make them, repeatable.

/// Numbers that are edges of something.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 22, 23, 11];

/// Makes new inputs of old ones.
pub struct Mutator(u64);

impl Mutator {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, by xorshift.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % bound.max(1)
    }

    /// One of `seeds` with one to eight changes.
    pub fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, seeds);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(7) {
            _ if input.is_empty() => input.push(EDGES[self.below(EDGES.len())]),
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = EDGES[self.below(EDGES.len())],
            2 => input.truncate(at),
            3 => {
                let end = (at + 1 + self.below(32)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let end = (at + 1 + self.below(64)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let byte = EDGES[self.below(EDGES.len())];
                input.insert(at, byte);
            }
            _ => {
                // The head of one, the tail of another.
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
    }
}
