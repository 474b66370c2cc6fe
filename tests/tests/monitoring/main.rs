//! What operators hold in their hands: alerts, dashboards, the command line. One binary, to link
//! once.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod alerts;
mod alternating;
mod fleet;
mod otlp;
mod panels;
mod scrape;
mod terminal;
