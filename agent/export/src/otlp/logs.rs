//! Events as log records.

use std::{
    io, thread,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
};
use serde_json::{Map, Value};

use super::{Endpoint, Resource, conventions, scope, sender::Sender, text, unix_nanoseconds};
use crate::time;

/// Pauses before a request is sent again to a collector that was there just now.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Longest time for which nothing is sent after a request that failed.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Sends the lines of the event output as log records. Each write is one request.
///
/// A collector that restarts is waited for a few seconds. After that writes fail at once, so that
/// whoever writes can count what is lost, until it is time to try again.
#[derive(Debug)]
pub struct LogOutput {
    sender: Sender,
    resource: Resource,
    /// While the collector is away: when to try again, and how long to wait after that.
    away: Option<(Instant, Duration)>,
}

impl LogOutput {
    /// An output of this resource to this collector.
    #[must_use]
    pub const fn new(endpoint: Endpoint, resource: Resource) -> Self {
        Self { sender: Sender::new(endpoint), resource, away: None }
    }

    fn send(&mut self, request: &ExportLogsServiceRequest) -> anyhow::Result<()> {
        let pauses: &[Duration] = match self.away {
            Some((again, _)) if Instant::now() < again => anyhow::bail!("the collector is away"),
            Some(_) => &[],
            None => &RETRIES,
        };
        let mut pauses = pauses.iter();
        loop {
            let unsent = match self.sender.send(request) {
                Ok(()) => {
                    self.away = None;
                    return Ok(());
                }
                Err(unsent) => unsent,
            };
            if !unsent.is_worth_retrying {
                return Err(unsent.why);
            }
            let Some(pause) = pauses.next() else {
                let silence = self.away.map_or(RETRIES[0], |(_, silence)| silence * 2);
                let silence = silence.min(MAX_SILENCE);
                self.away = Some((Instant::now() + silence, silence));
                return Err(unsent.why);
            };
            thread::sleep(*pause);
        }
    }
}

impl io::Write for LogOutput {
    /// Sends whole lines, each an event in JSON.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let now = unix_nanoseconds(SystemTime::now());
        let events = lines.split(|&byte| byte == b'\n');
        let records: Vec<_> = events.filter_map(|event| record(event, now)).collect();
        if !records.is_empty() {
            self.send(&request(&self.resource, records)).map_err(io::Error::other)?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request(resource: &Resource, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let schema_url = conventions::SCHEMA_URL.to_owned();
    let scope_logs =
        vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: schema_url.clone() }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource.message()), scope_logs, schema_url }];
    ExportLogsServiceRequest { resource_logs }
}

/// A line of the event output as a record.
fn record(event: &[u8], observed: u64) -> Option<LogRecord> {
    let mut event: Map<String, Value> = serde_json::from_slice(event).ok()?;
    let told = event.remove("time").and_then(|at| time::parse_rfc3339(at.as_str()?));
    let name = event.remove("event").and_then(|name| name.as_str().map(str::to_owned));
    let severity = match name.as_deref() {
        Some("drift_opened") => SeverityNumber::Warn,
        _ => SeverityNumber::Info,
    };
    let name = format!("hopsight.{}", name.as_deref().unwrap_or("connection"));
    let body = sentence(&event);
    Some(LogRecord {
        time_unix_nano: told.map_or(observed, unix_nanoseconds),
        observed_time_unix_nano: observed,
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(text(body)),
        attributes: conventions::attributes(event),
        event_name: name,
        ..LogRecord::default()
    })
}

/// What a person reads first: who to whom, and what about it.
fn sentence(event: &Map<String, Value>) -> String {
    let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let what = match event.get("detail") {
        Some(_) => word("detail").to_owned(),
        None => ["security", "outcome", "evidence"].map(word).join(", "),
    };
    format!("{} → {}: {what}", word("proxy"), word("upstream"))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;

    #[test]
    fn records_keep_every_key_of_the_line() {
        let line = br#"{"time":"2026-11-23T14:35:00.125Z","proxy":"nginx","upstream":"10.0.0.1:443",
            "origin":{"process":{"name":"nginx"}},"dst":"10.0.0.1:443","security":"mtls","outcome":"established","evidence":"wire",
            "sni":null,"offered_versions":["1.3","1.2"],"is_final":true,"opened_at":7}"#;
        let got = record(line, 9).expect("a record");
        assert_eq!(got.event_name, "hopsight.connection");
        assert_eq!(got.time_unix_nano, 1_795_444_500_125_000_000);
        assert_eq!(got.observed_time_unix_nano, 9);
        assert_eq!((got.severity_number, &*got.severity_text), (9, "INFO"));
        assert_eq!(got.body, Some(text("nginx → 10.0.0.1:443: mtls, established, wire")));
        let value = |key: &str| {
            let found = got.attributes.iter().find(|attribute| attribute.key == key);
            found.and_then(|attribute| attribute.value.clone()?.value)
        };
        assert_eq!(value("hopsight.security"), Some(any_value::Value::StringValue("mtls".into())));
        assert_eq!(value("hopsight.is_final"), Some(any_value::Value::BoolValue(true)));
        assert_eq!(value("hopsight.opened_at"), Some(any_value::Value::IntValue(7)));
        assert_eq!(value("tls.client.server_name"), None);
        assert!(matches!(
            value("hopsight.offered_versions"),
            Some(any_value::Value::ArrayValue(_))
        ));
    }

    #[test]
    fn an_opened_drift_is_a_warning() {
        let line = br#"{"time":"x","event":"drift_opened","proxy":"nginx","upstream":"a:1","detail":"in the clear"}"#;
        let got = record(line, 9).expect("a record");
        assert_eq!((got.severity_number, &*got.event_name), (13, "hopsight.drift_opened"));
        assert_eq!(got.body, Some(text("nginx → a:1: in the clear")));
        assert_eq!(got.time_unix_nano, 9, "a time that cannot be read is now");
        assert_eq!(record(b"", 9), None);
    }
}
