//! Accounts as in-toto statements in signed envelopes, so that others can check who said what without
//! trusting how it reached them.

pub mod envelope;
pub mod keys;
pub mod statement;
#[cfg(test)]
mod tests;
