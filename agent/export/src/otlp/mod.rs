//! OTLP over HTTP (OpenTelemetry protocol 1.x, binary protobuf) or gRPC: connection and drift events as
//! log records, and every metric, to a collector that is already there.
//!
//! Neither waits for the pipeline nor makes it wait: events come through a bounded queue, metrics
//! are gathered as for a scrape, and both are sent from threads of their own.

mod conventions;
mod endpoint;
mod grpc;
mod logs;
mod metrics;
mod request;
mod resource;
mod sender;
mod value;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};

pub use self::{
    endpoint::{Endpoint, EndpointFiles, Protocol},
    logs::LogOutput,
    metrics::{MetricExport, collect},
    resource::Resource,
};

/// How OTLP is sent.
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// The collector.
    pub endpoint: Endpoint,
    /// Who sends.
    pub resource: Resource,
    /// Pause between exports of the metrics; zero for none.
    pub metrics_interval: Duration,
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "hopsight".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn text(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.into())) }
}

fn text_attribute(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, text(value))
}

fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
