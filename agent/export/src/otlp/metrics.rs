//! Metrics as a scrape would show them, pushed instead of pulled.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::SystemTime,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::{
    OtlpOptions, Resource, conventions, scope, sender::Sender, text_attribute, unix_nanoseconds,
};
use crate::{
    Exporter,
    metrics::{catalogue::OTLP_METRIC_EXPORTS, samples::Samples},
};

/// Adds how many exports were sent and how many failed.
pub fn collect(counts: [u64; 2], samples: &mut Samples) {
    for (result, count) in ["sent", "failed"].into_iter().zip(counts) {
        samples.count(OTLP_METRIC_EXPORTS, [result], count);
    }
}

/// A thread that exports metrics; dropping it exports them a last time and waits for the thread.
#[derive(Debug)]
pub struct MetricExport {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricExport {
    /// Exports the metrics of `exporter` from now on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(options: OtlpOptions, exporter: &Exporter) -> io::Result<Self> {
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let shown = Arc::clone(&counts);
        exporter.register(move |samples: &mut Samples| {
            collect([0, 1].map(|result| shown[result].load(Ordering::Relaxed)), samples);
        });
        let exporter = exporter.clone();
        let start = SystemTime::now();
        let (stop, stopped) = sync_channel(0);
        let thread = thread::Builder::new().name("otlp-metrics".into()).spawn(move || {
            let mut is_failing = false;
            let mut sender = Sender::new(options.endpoint);
            loop {
                let ended = stopped.recv_timeout(options.metrics_interval);
                let families = exporter.gather_families();
                let request = request(&options.resource, &families, start, SystemTime::now());
                let result = sender.send(&request);
                let was_failing = std::mem::replace(&mut is_failing, result.is_err());
                counts[usize::from(is_failing)].fetch_add(1, Ordering::Relaxed);
                match result {
                    Ok(()) if was_failing => tracing::info!("metrics are exported again"),
                    Err(unsent) if !was_failing => {
                        tracing::warn!(error = format!("{:#}", unsent.why), "export metrics");
                    }
                    _ => {}
                }
                if ended != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for MetricExport {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported by it.
            let _ = thread.join();
        }
    }
}

fn request(
    resource: &Resource,
    families: &[MetricFamily],
    start: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let span = Span { start: unix_nanoseconds(start), now: unix_nanoseconds(now) };
    let metrics = families.iter().filter_map(|family| metric(family, span)).collect();
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let schema_url = conventions::SCHEMA_URL.to_owned();
    let metrics = ResourceMetrics { resource: Some(resource.message()), scope_metrics, schema_url };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
}

/// When cumulative values began to count, and when they were read, in nanoseconds.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

/// Names stay those of Prometheus, so that dashboards and rules fit what a collector passes on.
fn metric(family: &MetricFamily, span: Span) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = |value: fn(&proto::Metric) -> f64| {
        family.get_metric().iter().map(|metric| number(metric, value(metric), span)).collect()
    };
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(|metric| metric.get_counter().get_value()),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => {
            Data::Gauge(Gauge { data_points: numbers(|metric| metric.get_gauge().get_value()) })
        }
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: family.get_metric().iter().map(|metric| histogram(metric, span)).collect(),
            aggregation_temporality: cumulative,
        }),
        // The catalogue has no others.
        _ => return None,
    };
    Some(Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn labels(pairs: &[LabelPair]) -> Vec<KeyValue> {
    pairs.iter().map(|pair| text_attribute(pair.name(), pair.value())).collect()
}

fn number(metric: &proto::Metric, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(metric.get_label()),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(metric: &proto::Metric, span: Span) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    // Prometheus counts all up to a bound, OTLP those between two bounds and those above the last.
    let bounded = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let (mut below, mut bucket_counts, mut explicit_bounds) = (0, Vec::new(), Vec::new());
    for bucket in bounded {
        bucket_counts.push(bucket.cumulative_count() - below);
        explicit_bounds.push(bucket.upper_bound());
        below = bucket.cumulative_count();
    }
    let count = histogram.get_sample_count();
    bucket_counts.push(count - below);
    HistogramDataPoint {
        attributes: labels(metric.get_label()),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds,
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::catalogue::VERDICT_LATENCY;
    use hopsight_core::model::Security;
    use hopsight_posture::hops::{table::HopLimits, testing::report};

    #[test]
    fn counters_gauges_and_histograms() {
        let exporter = Exporter::new(HopLimits::default());
        exporter.record(&report(1, Security::Mtls));
        for millis in [3, 3, 40, 60_000] {
            exporter.observe_verdict_latency(Duration::from_millis(millis));
        }
        let span = Span { start: 1, now: 2 };
        let families = exporter.gather_families();
        let find = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect("a family");
            metric(family, span).expect("a kind OTLP has").data.expect("data")
        };
        let Data::Sum(connections) = find("hopsight_upstream_connections_total") else {
            panic!("a counter is a sum");
        };
        assert!(connections.is_monotonic);
        assert_eq!(connections.aggregation_temporality, 2, "cumulative");
        let point = &connections.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(1.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert!(point.attributes.contains(&text_attribute("security", "mtls")));
        assert!(matches!(find("hopsight_hops"), Data::Gauge(_)));
        let Data::Histogram(latency) = find(VERDICT_LATENCY.info.name) else {
            panic!("a histogram stays one");
        };
        let point = &latency.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
        assert_eq!(point.bucket_counts.last(), Some(&1), "a minute is beyond the last bound");
        assert_eq!(point.count, 4);
    }
}
