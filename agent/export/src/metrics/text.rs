//! Prometheus' text exposition format and OpenMetrics, written as samples arrive.
//!
//! Ten thousand hops have some 200,000 samples. As objects of the Prometheus library, each with its
//! strings, they would make a scrape take several times as long.

use std::{borrow::Cow, fmt::Write as _};

use anyhow::Context as _;
use prometheus::{TextEncoder, core::Collector as _};

use crate::metrics::catalogue::{Histograms, MetricInfo, MetricKind};
use hopsight_posture::hops::labels::{MAX_LABEL_BYTES, printable};

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus' text exposition format, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics, version 1.0.0: a counter's family lacks the suffix of its samples, and the end is
    /// marked.
    OpenMetrics,
}

impl TextFormat {
    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Families, each with its head and its samples.
#[derive(Debug)]
pub struct Text {
    format: TextFormat,
    /// In the order in which they came: there are some dozens, those of the hops first.
    families: Vec<(&'static str, String)>,
}

impl Text {
    /// No families yet.
    pub const fn new(format: TextFormat) -> Self {
        Self { format, families: Vec::new() }
    }

    /// Adds a counter's or gauge's sample. An empty label value is the same as no label, and costs
    /// nothing.
    pub fn sample(&mut self, info: &MetricInfo, values: &[&str], value: f64) {
        let format = self.format;
        let text = self.family(info.name, || head(info, format));
        text.push_str(info.name);
        let mut separator = '{';
        for (label, value) in info.labels.iter().zip(values).filter(|(_, value)| !value.is_empty())
        {
            text.push(separator);
            text.push_str(label);
            text.push_str("=\"");
            push_label_value(text, value);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        text.push(' ');
        push_value(text, value);
        text.push('\n');
    }

    fn family(&mut self, name: &'static str, head: impl FnOnce() -> String) -> &mut String {
        let known = self.families.iter().position(|(known, _)| *known == name);
        let at = known.unwrap_or_else(|| {
            self.families.push((name, head()));
            self.families.len() - 1
        });
        &mut self.families[at].1
    }

    /// All families and the histograms, by name.
    ///
    /// # Errors
    /// If the library cannot encode a histogram.
    pub fn finish(mut self, histograms: &Histograms<'_>) -> anyhow::Result<String> {
        for (info, histogram) in histograms {
            let text = self.family(info.name, String::new);
            TextEncoder::new()
                .encode_utf8(&histogram.collect(), text)
                .with_context(|| format!("encode {}", info.name))?;
        }
        self.families.sort_unstable_by_key(|(name, _)| *name);
        let mut all = String::with_capacity(self.families.iter().map(|(_, text)| text.len()).sum());
        self.families.into_iter().for_each(|(_, text)| all.push_str(&text));
        if self.format == TextFormat::OpenMetrics {
            all.push_str("# EOF\n");
        }
        Ok(all)
    }
}

fn head(info: &MetricInfo, format: TextFormat) -> String {
    let (mut name, kind) = (info.name, info.kind.as_str());
    let mut help = info.help().replace('\\', r"\\").replace('\n', r"\n");
    if format == TextFormat::OpenMetrics {
        help = help.replace('"', "\\\"");
        if info.kind == MetricKind::Counter {
            name = name.strip_suffix("_total").unwrap_or(name);
        }
    }
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// As [`f64`] displays itself. Integers, which most values are, take a shortcut.
fn push_value(text: &mut String, value: f64) {
    /// 2^53: up to here every integer is itself.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // Writing to a String cannot fail.
    let _ = if (1.0..EXACT).contains(&value) && value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an integer")]
        let integer = value as u64;
        write!(text, "{integer}")
    } else {
        write!(text, "{value}")
    };
}

/// Sanitised as [`printable`] does, and escaped as the format requires.
fn push_label_value(text: &mut String, value: &str) {
    let value = printable(value, MAX_LABEL_BYTES);
    if matches!(value, Cow::Borrowed(_)) && memchr::memchr2(b'"', b'\\', value.as_bytes()).is_none()
    {
        text.push_str(&value);
        return;
    }
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalogue::{HOP_LAST_SEEN, METRICS, UNUSED_CONNECTIONS};

    #[test]
    fn every_counter_is_named_as_openmetrics_wants_it() {
        let counters = METRICS.iter().filter(|info| info.kind == MetricKind::Counter);
        let wrong: Vec<_> = counters.filter(|info| !info.name.ends_with("_total")).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn openmetrics_names_families_and_marks_its_end() {
        let mut text = Text::new(TextFormat::OpenMetrics);
        text.sample(&UNUSED_CONNECTIONS.info, &[], 3.0);
        let text = text.finish(&[]).expect("text");
        assert!(text.contains("# TYPE hopsight_unused_connections counter\n"), "{text}");
        assert!(text.ends_with("\nhopsight_unused_connections_total 3\n# EOF\n"), "{text}");
    }

    #[test]
    fn label_values_cannot_leave_their_quotes() {
        for (name, value, written) in [
            ("plain", "10.0.0.1:443", "10.0.0.1:443"),
            ("quote", r#"a"b"#, r#"a\"b"#),
            ("backslash", r"a\", r"a\\"),
            ("line break", "a\nb", "a_b"),
            ("beyond ASCII", "zürich", "zürich"),
        ] {
            let mut text = Text::new(TextFormat::Prometheus);
            text.sample(&HOP_LAST_SEEN.info, &["nginx", "", "", value], 1.5);
            let last = format!(
                "hopsight_hop_last_seen_timestamp_seconds{{proxy=\"nginx\",upstream=\"{written}\"}} 1.5\n"
            );
            assert!(text.finish(&[]).expect("text").ends_with(&last), "{name}");
        }
    }
}
