//! From segments to what each side said: reassembly, and what came before TLS.

pub mod prelude;
pub mod reassembly;
