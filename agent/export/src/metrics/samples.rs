//! Numbers read at scrape time.

#[cfg(feature = "otlp")]
use super::families::Families;
use super::text::{Text, TextFormat};
use crate::metrics::catalogue::{Histograms, METRICS, Metric, MetricInfo, MetricKind};

/// Something that has numbers to show. It is asked at each scrape, from a thread of its own; it
/// must be cheap and must not wait for the pipeline.
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
    Text(Text),
    #[cfg(feature = "otlp")]
    Families(Families),
}

impl Samples {
    /// What `collect` has to show, with these histograms, in a text format.
    ///
    /// # Errors
    /// If the library cannot encode a histogram.
    pub(crate) fn text(
        collect: &impl Collect,
        histograms: &Histograms<'_>,
        format: TextFormat,
    ) -> anyhow::Result<String> {
        let mut samples = Self(Form::Text(Text::new(format)));
        collect.collect(&mut samples);
        match samples.0 {
            Form::Text(text) => text.finish(histograms),
            #[cfg(feature = "otlp")]
            Form::Families(_) => Ok(String::new()),
        }
    }

    /// The same, as families of the Prometheus library.
    #[cfg(feature = "otlp")]
    pub(crate) fn families(
        collect: &impl Collect,
        histograms: &Histograms<'_>,
    ) -> Vec<prometheus::proto::MetricFamily> {
        let mut samples = Self(Form::Families(Families::default()));
        collect.collect(&mut samples);
        match samples.0 {
            Form::Families(families) => families.finish(histograms),
            Form::Text(_) => Vec::new(),
        }
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
            #[cfg(feature = "otlp")]
            Form::Families(families) => families.sample(&metric.info, &values, value),
        }
    }

    /// Adds a count. Beyond 2^53 (some 285 years at a million per second) it is rounded.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are f64")]
    pub fn count<const N: usize>(&mut self, metric: Metric<N>, values: [&str; N], value: u64) {
        self.set(metric, values, value as f64);
    }
}

/// The histogram a catalogue entry describes.
///
/// # Panics
/// If the name or the buckets are invalid, which tests would show.
pub(crate) fn histogram(info: MetricInfo, buckets: &[f64]) -> prometheus::Histogram {
    debug_assert!(METRICS.contains(&info));
    let options = prometheus::HistogramOpts::new(info.name, info.help()).buckets(buckets.to_vec());
    prometheus::Histogram::with_opts(options).expect("names and buckets are constants")
}
