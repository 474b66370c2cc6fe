//! Export to an OpenTelemetry collector.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Time between exports of the metrics, by default.
const METRICS_INTERVAL: Duration = Duration::from_mins(1);

/// Export to an OpenTelemetry collector, where the build has it (cargo feature `otlp`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Base URL of its OTLP receiver; if absent, nothing is exported.
    pub endpoint: Option<String>,
    /// `http/protobuf`, which is taken if it is absent, or `grpc`.
    pub protocol: Option<String>,
    /// Authorities of the collector's certificate (PEM), for `https`.
    pub ca: Option<PathBuf>,
    /// Certificate that is presented to it (PEM), with its chain.
    pub certificate: Option<PathBuf>,
    /// Key of that certificate (PEM).
    pub key: Option<PathBuf>,
    /// Seconds between exports of the metrics; 0 for none.
    pub metrics_interval_seconds: u64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            ca: None,
            certificate: None,
            key: None,
            metrics_interval_seconds: METRICS_INTERVAL.as_secs(),
        }
    }
}

/// Looks a variable of the environment up.
#[cfg(feature = "otlp")]
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

#[cfg(feature = "otlp")]
impl Otlp {
    /// What to export to, if anything. What is not configured here is taken from OpenTelemetry's
    /// variables of the environment.
    ///
    /// # Errors
    /// The endpoint is no URL that can be exported to, or a file or variable cannot be used.
    pub fn options(&self) -> anyhow::Result<Option<hopsight_export::otlp::OtlpOptions>> {
        self.options_with(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn options_with(
        &self,
        variable: Variable<'_>,
    ) -> anyhow::Result<Option<hopsight_export::otlp::OtlpOptions>> {
        use hopsight_export::otlp::{Endpoint, EndpointFiles, OtlpOptions, Protocol, Resource};

        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let (url, named) = match (&self.endpoint, variable("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(url), _) => (url.clone(), "otlp.endpoint"),
            (None, Some(url)) => (url, "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (None, None) => return Ok(None),
        };
        let (protocol, said_by) = match (&self.protocol, variable("OTEL_EXPORTER_OTLP_PROTOCOL")) {
            (Some(protocol), _) => (protocol.clone(), "otlp.protocol"),
            (None, Some(protocol)) => (protocol, "OTEL_EXPORTER_OTLP_PROTOCOL"),
            (None, None) => (Protocol::HttpProtobuf.as_str().to_owned(), "otlp.protocol"),
        };
        let known = Protocol::ALL.iter().find(|known| known.as_str() == protocol);
        let known = *known.ok_or_else(|| {
            anyhow::anyhow!(
                "{said_by}: {protocol:?} is not spoken; use http/protobuf (port 4318) or grpc (4317)"
            )
        })?;
        let file = |configured: &Option<PathBuf>, name: &str| {
            configured.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        let certificate = file(&self.certificate, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
        let key = file(&self.key, "OTEL_EXPORTER_OTLP_CLIENT_KEY");
        anyhow::ensure!(
            certificate.is_some() == key.is_some(),
            "otlp: certificate and key go together; name both or neither"
        );
        let files = EndpointFiles {
            authorities: file(&self.ca, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            presented: certificate.zip(key),
        };
        // (Callers show the outermost message alone.)
        let told = |name: &str, why: &anyhow::Error| anyhow::anyhow!("{name}: {why:#}");
        let mut endpoint = Endpoint::parse(&url, &files).map_err(|why| told(named, &why))?;
        if let Some(headers) = variable("OTEL_EXPORTER_OTLP_HEADERS") {
            let name = "OTEL_EXPORTER_OTLP_HEADERS";
            endpoint = endpoint.with_headers(&headers).map_err(|why| told(name, &why))?;
        }
        endpoint = endpoint.with_protocol(known).map_err(|why| told(said_by, &why))?;
        if let Some(timeout) = milliseconds(variable, "OTEL_EXPORTER_OTLP_TIMEOUT")? {
            endpoint = endpoint.with_timeout(timeout);
        }
        let mut resource = Resource::of_this_process();
        if let Some(list) = variable("OTEL_RESOURCE_ATTRIBUTES") {
            let name = "OTEL_RESOURCE_ATTRIBUTES";
            resource = resource.with_list(&list).map_err(|why| told(name, &why))?;
        }
        if let Some(name) = variable("OTEL_SERVICE_NAME") {
            resource = resource.with("service.name", &name);
        }
        let configured = Duration::from_secs(self.metrics_interval_seconds);
        let metrics_interval = match milliseconds(variable, "OTEL_METRIC_EXPORT_INTERVAL")? {
            // One that is configured otherwise than by default counts.
            Some(interval) if configured == METRICS_INTERVAL => interval,
            _ => configured,
        };
        Ok(Some(OtlpOptions { endpoint, resource, metrics_interval }))
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.options().map(drop)
    }
}

#[cfg(feature = "otlp")]
fn milliseconds(variable: Variable<'_>, name: &str) -> anyhow::Result<Option<Duration>> {
    use anyhow::Context as _;

    let Some(value) = variable(name) else { return Ok(None) };
    let milliseconds: u64 = value
        .trim()
        .parse()
        .with_context(|| format!("{name}: {value:?} is no number of milliseconds"))?;
    anyhow::ensure!(milliseconds > 0, "{name}: 0 is no time");
    Ok(Some(Duration::from_millis(milliseconds)))
}

#[cfg(not(feature = "otlp"))]
impl Otlp {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.endpoint.is_none(),
            "otlp.endpoint: this hopsight was built without the cargo feature otlp"
        );
        Ok(())
    }
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;

    /// Name, configuration, environment; URL and milliseconds, or words of the error.
    type Case<'a> = (
        &'static str,
        &'a Otlp,
        &'static [(&'static str, &'static str)],
        Result<Option<(&'static str, u64)>, &'static str>,
    );

    #[test]
    fn the_environment_says_what_is_not_configured() {
        let url = "http://a:1".to_owned();
        let none = Otlp::default();
        let configured = Otlp { endpoint: Some(url), ..Otlp::default() };
        let never = Otlp { metrics_interval_seconds: 0, ..configured.clone() };
        let grpc = Otlp { protocol: Some("grpc".to_owned()), ..configured.clone() };
        let neither = Otlp { protocol: Some("udp".to_owned()), ..configured.clone() };
        let cases: [Case<'_>; 13] = [
            ("nothing", &none, &[], Ok(None)),
            (
                "a variable",
                &none,
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:2")],
                Ok(Some(("http://b:2", 60_000))),
            ),
            (
                "both",
                &configured,
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:2")],
                Ok(Some(("http://a:1", 60_000))),
            ),
            ("switched off", &configured, &[("OTEL_SDK_DISABLED", "true")], Ok(None)),
            (
                "an interval",
                &configured,
                &[("OTEL_METRIC_EXPORT_INTERVAL", "5000")],
                Ok(Some(("http://a:1", 5000))),
            ),
            (
                "no metrics",
                &never,
                &[("OTEL_METRIC_EXPORT_INTERVAL", "5000")],
                Ok(Some(("http://a:1", 0))),
            ),
            (
                "gRPC by a variable",
                &configured,
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                Ok(Some(("http://a:1", 60_000))),
            ),
            ("gRPC", &grpc, &[], Ok(Some(("http://a:1", 60_000)))),
            ("neither", &neither, &[], Err("otlp.protocol: \"udp\" is not spoken")),
            (
                "as JSON",
                &configured,
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
                Err("OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\" is not spoken"),
            ),
            (
                "no headers",
                &configured,
                &[("OTEL_EXPORTER_OTLP_HEADERS", "x")],
                Err("OTEL_EXPORTER_OTLP_HEADERS"),
            ),
            (
                "a key alone",
                &configured,
                &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k")],
                Err("go together"),
            ),
            (
                "no number",
                &configured,
                &[("OTEL_EXPORTER_OTLP_TIMEOUT", "3s")],
                Err("OTEL_EXPORTER_OTLP_TIMEOUT"),
            ),
        ];
        for (name, otlp, variables, want) in cases {
            let look_up = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| (*value).to_owned())
            };
            let got = otlp.options_with(&look_up);
            match (got, want) {
                (Ok(got), Ok(want)) => {
                    let got = got.map(|options| {
                        (format!("{:?}", options.endpoint), options.metrics_interval.as_millis())
                    });
                    let want = want.map(|(url, interval)| (url.to_owned(), u128::from(interval)));
                    assert_eq!(got, want, "{name}");
                }
                (Err(error), Err(words)) => {
                    assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
                }
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}
