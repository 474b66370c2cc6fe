//! OTLP over HTTP (OpenTelemetry protocol 1.x, binary protobuf): connection and drift events as
//! log records, and every metric, to a collector that is already there.
//!
//! Neither waits for the pipeline nor makes it wait: events come through a bounded queue, metrics
//! are gathered as for a scrape, and both are sent from threads of their own.

mod endpoint;
mod logs;
mod metrics;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
};

pub use self::{
    endpoint::Endpoint,
    logs::LogOutput,
    metrics::{MetricExport, collect},
};

/// How OTLP is sent.
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// The collector.
    pub endpoint: Endpoint,
    /// Pause between exports of the metrics; zero for none.
    pub metrics_interval: Duration,
}

/// Who sends: `service.*` and `host.name` of the semantic conventions.
fn resource() -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim_end().to_owned();
    let attributes = [
        ("service.name", "hopsight".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", format!("{host}:{}", std::process::id())),
        ("host.name", host),
    ];
    let attributes = attributes.map(|(key, value)| text_attribute(key, value));
    Resource { attributes: attributes.into(), ..Resource::default() }
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
