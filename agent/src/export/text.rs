//! The text exposition format (version 0.0.4), written while samples come.
//!
//! Ten thousand hops have some 200,000 samples. As objects of the Prometheus library, each with its
//! strings, they would keep a scrape waiting several times as long.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;
use prometheus::{TextEncoder, core::Collector as _};

use super::{
    labels::{MAX_LABEL_BYTES, printable},
    metrics::MetricInfo,
    samples::Histograms,
};

/// Families by name, each with its head and its samples.
#[derive(Debug, Default)]
pub struct Text {
    families: BTreeMap<&'static str, String>,
}

impl Text {
    /// Adds a counter's or gauge's sample.
    pub fn sample(&mut self, info: &MetricInfo, values: &[&str], value: f64) {
        let text = self.families.entry(info.name).or_insert_with(|| head(info));
        text.push_str(info.name);
        let mut separator = '{';
        for (label, value) in info.labels.iter().zip(values) {
            text.push(separator);
            text.push_str(label);
            text.push_str("=\"");
            push_label_value(text, value);
            text.push('"');
            separator = ',';
        }
        if !info.labels.is_empty() {
            text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {value}");
    }

    /// All families and the histograms, by name.
    ///
    /// # Errors
    /// If the library cannot encode a histogram.
    pub fn finish(mut self, histograms: &Histograms<'_>) -> anyhow::Result<String> {
        for (info, histogram) in histograms {
            let text = self.families.entry(info.name).or_default();
            TextEncoder::new()
                .encode_utf8(&histogram.collect(), text)
                .with_context(|| format!("encode {}", info.name))?;
        }
        let mut all = String::with_capacity(self.families.values().map(String::len).sum());
        self.families.into_values().for_each(|family| all.push_str(&family));
        Ok(all)
    }
}

fn head(info: &MetricInfo) -> String {
    let (name, kind) = (info.name, info.kind.as_str());
    let help = info.help().replace('\\', r"\\").replace('\n', r"\n");
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// Sanitised as [`printable`] does, and escaped as the format wants.
fn push_label_value(text: &mut String, value: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if value.len() <= MAX_LABEL_BYTES && value.bytes().all(is_plain) {
        text.push_str(value);
        return;
    }
    for c in printable(value, MAX_LABEL_BYTES).chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::metrics::HOP_LAST_SEEN;

    #[test]
    fn label_values_cannot_leave_their_quotes() {
        for (name, value, written) in [
            ("plain", "10.0.0.1:443", "10.0.0.1:443"),
            ("quote", r#"a"b"#, r#"a\"b"#),
            ("backslash", r"a\", r"a\\"),
            ("line break", "a\nb", "a_b"),
            ("beyond ASCII", "zürich", "zürich"),
        ] {
            let mut text = Text::default();
            text.sample(&HOP_LAST_SEEN.info, &["nginx", value], 1.5);
            let last = format!(
                "hopsight_hop_last_seen_timestamp_seconds{{proxy=\"nginx\",upstream=\"{written}\"}} 1.5\n"
            );
            assert!(text.finish(&[]).expect("text").ends_with(&last), "{name}");
        }
    }
}
