//! Requests of OTLP, whatever carries them.

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
};
use prost::Message;

/// A request of OTLP.
pub(super) trait Export: Message + Default + Clone + 'static {
    /// What the collector answers.
    type Answer: Message + Default + Send + 'static;
    /// Its path over HTTP, below that of the endpoint.
    const PATH: &'static str;
    /// Its method over gRPC.
    const METHOD: &'static str;
}

impl Export for ExportLogsServiceRequest {
    type Answer = ExportLogsServiceResponse;
    const PATH: &'static str = "/v1/logs";
    const METHOD: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
}

impl Export for ExportMetricsServiceRequest {
    type Answer = ExportMetricsServiceResponse;
    const PATH: &'static str = "/v1/metrics";
    const METHOD: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
}

/// A request that did not arrive.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Whether the same request may arrive later.
    pub is_worth_retrying: bool,
    /// What happened.
    pub why: anyhow::Error,
}
