//! Faults around the real agent: what is lost is counted, what is counted is exact, and the proxy
//! never notices.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod disk;
mod hostile;
mod memory;
mod places;
mod scraper;
mod stalled;
