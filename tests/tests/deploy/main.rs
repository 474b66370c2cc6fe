//! What is deployed: the chart, and the manifests made from it.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod chart;
mod chart_values;
mod https;
mod packages;
mod unit;
