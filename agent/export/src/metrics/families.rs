//! Samples as metric families of the Prometheus library, of which OTLP's metrics are made.

use std::collections::BTreeMap;

use prometheus::{
    core::Collector as _,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::metrics::catalogue::{Histograms, MetricInfo, MetricKind};
use hopsight_posture::hops::labels::{MAX_LABEL_BYTES, printable};

/// Families by name.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    /// Adds a counter's or gauge's sample. An empty label value is the same as no label.
    pub fn sample(&mut self, info: &MetricInfo, values: &[&str], value: f64) {
        let mut sample = Metric::default();
        let given = info.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
        let pairs = given.map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            // Values made by the agent itself are the only ones that may begin with `~`.
            pair.set_value(printable(value, MAX_LABEL_BYTES).into_owned());
            pair
        });
        sample.set_label(pairs.collect());
        let is_counter = info.kind == MetricKind::Counter;
        if is_counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        let family = self.0.entry(info.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(info.name.to_owned());
            family.set_help(info.help().to_owned());
            let kind = if is_counter { MetricType::COUNTER } else { MetricType::GAUGE };
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(sample);
    }

    /// All families, by name, the histograms last.
    #[must_use]
    pub fn finish(self, histograms: &Histograms<'_>) -> Vec<MetricFamily> {
        let histograms = histograms.iter().flat_map(|(_, histogram)| histogram.collect());
        self.0.into_values().chain(histograms).collect()
    }
}
