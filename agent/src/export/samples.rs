//! Numbers read at scrape time, and how they become Prometheus metric families.

use std::collections::BTreeMap;

use prometheus::{
    core::{Collector, Desc},
    proto::{self, LabelPair, MetricFamily, MetricType},
};

use super::{
    labels,
    metrics::{METRICS, Metric, MetricInfo, MetricKind},
    text::Text,
};

/// Something that has numbers to show. It is asked at each scrape, from a thread of its own;
/// what it reads must be cheap to read and must not wait for the pipeline.
pub trait Collect: Send + Sync {
    /// Adds its samples.
    fn collect(&self, samples: &mut Samples);
}

impl<F: Fn(&mut Samples) + Send + Sync> Collect for F {
    fn collect(&self, samples: &mut Samples) {
        self(samples);
    }
}

/// The samples of one scrape.
#[derive(Debug)]
pub struct Samples(Form);

/// What they become.
#[derive(Debug)]
enum Form {
    Families(BTreeMap<&'static str, MetricFamily>),
    Text(Text),
}

impl Samples {
    /// What `collect` has to show, with these histograms, in the text exposition format.
    ///
    /// # Errors
    /// If the library cannot encode a histogram.
    pub(super) fn text(
        collect: &impl Collect,
        histograms: &[(MetricInfo, &prometheus::Histogram)],
    ) -> anyhow::Result<String> {
        let mut samples = Self(Form::Text(Text::default()));
        collect.collect(&mut samples);
        let Form::Text(mut text) = samples.0 else { return Ok(String::new()) };
        for (info, histogram) in histograms {
            text.histogram(info, histogram)?;
        }
        Ok(text.finish())
    }

    /// Adds the value of a counter or gauge for these label values, which are sanitised here.
    ///
    /// Each combination of label values may be given once per scrape.
    pub fn set<const N: usize>(&mut self, metric: Metric<N>, values: [&str; N], value: f64) {
        if metric.info.kind == MetricKind::Histogram {
            debug_assert!(false, "{} is a histogram: observe it instead", metric.info.name);
            return;
        }
        match &mut self.0 {
            Form::Text(text) => text.sample(&metric.info, &values, value),
            Form::Families(families) => add_to_family(families, metric, values, value),
        }
    }

    /// Adds a count. Beyond 2^53 (some 285 years of a million per second) it is rounded.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are f64")]
    pub fn count<const N: usize>(&mut self, metric: Metric<N>, values: [&str; N], value: u64) {
        self.set(metric, values, value as f64);
    }
}

fn add_to_family<const N: usize>(
    families: &mut BTreeMap<&'static str, MetricFamily>,
    metric: Metric<N>,
    values: [&str; N],
    value: f64,
) {
    let mut sample = proto::Metric::default();
    let pairs = metric.info.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        // Values made by the agent itself are the only ones that may begin with `~`.
        pair.set_value(labels::printable(value, labels::MAX_LABEL_BYTES));
        pair
    });
    sample.set_label(pairs.collect());
    if metric.info.kind == MetricKind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        sample.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        sample.set_gauge(gauge);
    }
    let family = families.entry(metric.info.name).or_insert_with(|| {
        let mut family = MetricFamily::default();
        family.set_name(metric.info.name.to_owned());
        family.set_help(metric.info.help().to_owned());
        family.set_field_type(match metric.info.kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
            MetricKind::Histogram => MetricType::HISTOGRAM,
        });
        family
    });
    family.mut_metric().push(sample);
}

/// Shows every source and the histograms to a Prometheus registry.
pub(super) struct Bridge<C> {
    /// Everything that is read at scrape time.
    pub collect: C,
    /// Instruments that are observed as things happen.
    pub histograms: Vec<prometheus::Histogram>,
}

impl<C: Collect> Collector for Bridge<C> {
    fn desc(&self) -> Vec<&Desc> {
        // The registry uses descriptions to refuse a second collector of the same name; this is
        // the only collector, and `metrics::tests` checks that names are unique.
        self.histograms.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples(Form::Families(BTreeMap::new()));
        self.collect.collect(&mut samples);
        let Form::Families(families) = samples.0 else { return Vec::new() };
        let mut families: Vec<_> = families.into_values().collect();
        families.extend(self.histograms.iter().flat_map(Collector::collect));
        families
    }
}

/// The histogram a catalogue entry describes.
///
/// # Panics
/// If the name or the buckets are invalid, which tests would show.
pub(super) fn histogram(info: MetricInfo, buckets: &[f64]) -> prometheus::Histogram {
    debug_assert!(METRICS.contains(&info));
    let options = prometheus::HistogramOpts::new(info.name, info.help()).buckets(buckets.to_vec());
    prometheus::Histogram::with_opts(options).expect("names and buckets are constants")
}
