//! A client of Prometheus' HTTP API, and of what speaks it (Thanos, Mimir): instant queries alone.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Gets a path: status and body.
pub type Get = Box<dyn Fn(&str) -> anyhow::Result<(u16, String)> + Send + Sync>;

/// Where it is.
pub struct Prometheus {
    /// What stands before `/api`, such as `/prometheus`.
    prefix: String,
    get: Get,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A sample with these labels.
    #[must_use]
    pub fn new(labels: &[(&str, &str)], value: f64) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self { labels: labels.collect(), value }
    }

    /// The value of a label; empty where it has none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// A value that counts something.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts; `as` saturates, and makes nothing of what is no number"
    )]
    pub const fn count(&self) -> u64 {
        self.value as u64
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Prometheus {
    /// One that is asked by `get`, under `prefix`.
    #[must_use]
    pub fn new(prefix: &str, get: Get) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), get }
    }

    /// The samples of an instant query.
    ///
    /// # Errors
    /// It does not answer, refuses the query, or answers with something else.
    pub fn query(&self, promql: &str) -> anyhow::Result<Vec<Sample>> {
        let query = utf8_percent_encode(promql, NON_ALPHANUMERIC);
        let path = format!("{}/api/v1/query?query={query}", self.prefix);
        let (status, body) = (self.get)(&path).context("ask Prometheus")?;
        parse(status, &body).context("read what Prometheus says")
    }
}

fn parse(status: u16, body: &str) -> anyhow::Result<Vec<Sample>> {
    let answer: Answer = serde_json::from_str(body)
        .with_context(|| format!("it answered {status}, and not as Prometheus does"))?;
    ensure!(answer.status == "success", "it refuses the query: {}", answer.error);
    let data = answer.data.context("it has no data")?;
    ensure!(data.kind == "vector", "it answers with a {}", data.kind);
    let sample = |series: Series| {
        let value = series.value.1.parse().context("read a value")?;
        Ok(Sample { labels: series.metric, value })
    };
    data.result.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"proxy":"a"},"value":[1.5,"3"]},{"metric":{},"value":[1,"NaN"]}]}}"#;
        let samples = parse(200, vector).unwrap();
        assert_eq!((samples[0].label("proxy"), samples[0].count()), ("a", 3));
        assert_eq!((samples[1].label("proxy"), samples[1].count()), ("", 0));
        for (name, status, body, words) in [
            ("refused", 400, r#"{"status":"error","error":"parse error"}"#, "parse error"),
            ("another server", 502, "<html>", "answered 502"),
            (
                "a matrix",
                200,
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
                "a matrix",
            ),
        ] {
            let error = format!("{:#}", parse(status, body).unwrap_err());
            assert!(error.contains(words), "{name}: {error}");
        }
    }

    #[test]
    fn queries_are_encoded_behind_the_prefix() {
        let get = |path: &str| {
            assert_eq!(path, "/prometheus/api/v1/query?query=up%7Bjob%3D%22a%22%7D");
            let body = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
            Ok((200, body.to_owned()))
        };
        let prometheus = Prometheus::new("/prometheus/", Box::new(get));
        assert_eq!(prometheus.query("up{job=\"a\"}").unwrap(), []);
    }
}
