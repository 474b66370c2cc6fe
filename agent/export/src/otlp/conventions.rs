//! Events in the names of OpenTelemetry's semantic conventions.
//!
//! What the conventions have a name for has that name (`tls.*`, `server.*`, `network.*`, `k8s.*`,
//! `process.*`, `thread.*`); everything else is under `hopsight.`, as the event calls it.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Map, Value};

use super::{attribute, text_attribute, value::any};
use crate::time;

/// The conventions whose names are used.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The attributes of an event. A null says nothing and is left out.
pub(super) fn attributes(event: Map<String, Value>) -> Vec<KeyValue> {
    let mut found = Attributes(Vec::new());
    for (key, value) in event {
        found.add(&key, value);
    }
    found.0
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        match (key, &value) {
            (_, Value::Null) => {}
            ("pod", Value::String(pod)) => match pod.split_once('/') {
                Some((namespace, name)) => {
                    self.text("k8s.namespace.name", namespace);
                    self.text("k8s.pod.name", name);
                }
                None => self.text("k8s.pod.name", pod),
            },
            ("origin", Value::Object(origin)) => self.process(origin),
            // The two ends as the kernel has them, and whom the process asked for.
            ("src", Value::String(end)) => self.end("network.local", end),
            ("dst", Value::String(end)) => {
                self.text("network.transport", "tcp");
                if let Ok(address) = end.parse::<SocketAddr>() {
                    self.text("network.type", if address.is_ipv4() { "ipv4" } else { "ipv6" });
                }
                self.end("network.peer", end);
            }
            ("destination", Value::String(end)) => self.end("server", end),
            ("tls_version", Value::String(version)) => {
                let is_ssl = version.strip_prefix("SSLv");
                self.text("tls.protocol.name", if is_ssl.is_some() { "ssl" } else { "tls" });
                self.text("tls.protocol.version", is_ssl.unwrap_or(version));
            }
            ("cipher", Value::String(cipher)) => self.text("tls.cipher", cipher),
            ("sni", Value::String(name)) => self.text("tls.client.server_name", name),
            ("alpn", Value::String(protocol)) => self.text("tls.next_protocol", protocol),
            ("resumed", Value::Bool(_)) => self.0.push(attribute("tls.resumed", any(value))),
            ("protocol", Value::String(name)) => self.text("network.protocol.name", name),
            ("server_certificate", Value::Object(facts)) => self.certificate("server", facts),
            ("client_certificate", Value::Object(facts)) => self.certificate("client", facts),
            _ => self.0.push(attribute(&format!("hopsight.{key}"), any(value))),
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        self.0.push(text_attribute(key, text));
    }

    fn end(&mut self, prefix: &str, end: &str) {
        // A connection that was never established has none.
        let Ok(address) = end.parse::<SocketAddr>() else { return };
        self.text(&format!("{prefix}.address"), &address.ip().to_string());
        self.0.push(attribute(&format!("{prefix}.port"), any(address.port().into())));
    }

    fn process(&mut self, origin: &Map<String, Value>) {
        let Some(Value::Object(process)) = origin.get("process") else { return };
        for (key, value) in process {
            let name = match key.as_str() {
                "pid" => "process.pid".to_owned(),
                "name" => "thread.name".to_owned(),
                other => format!("hopsight.process.{other}"),
            };
            self.0.push(attribute(&name, any(value.clone())));
        }
    }

    /// `side` is `client` or `server`.
    fn certificate(&mut self, side: &str, facts: &Map<String, Value>) {
        for (key, value) in facts {
            match (key.as_str(), value) {
                ("subject" | "issuer", Value::String(name)) => {
                    self.text(&format!("tls.{side}.{key}"), name);
                }
                ("not_before" | "not_after", value) => {
                    if let Some(seconds) = value.as_f64() {
                        self.text(&format!("tls.{side}.{key}"), &time::rfc3339(seconds));
                    }
                }
                _ => self.0.push(attribute(
                    &format!("hopsight.{side}_certificate.{key}"),
                    any(value.clone()),
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_the_conventions() {
        let Value::Object(event) = json!({
            "proxy": "shop/edge", "upstream": "payments", "pod": "shop/edge-1",
            "origin": {"process": {"pid": 7, "name": "nginx", "cgroup_id": 9}},
            "src": "10.0.0.1:40000", "dst": "10.0.0.2:8443", "destination": "[fd00::2]:443",
            "tls_version": "1.3", "cipher": "TLS_AES_128_GCM_SHA256", "sni": "payments.internal",
            "alpn": "h2", "resumed": false, "protocol": null, "security": "mtls", "reason": null,
            "server_certificate": {"subject": "CN=payments", "not_after": 1_795_444_500, "serial": "0a"},
            "offered_versions": ["1.3", "1.2"],
        }) else {
            panic!("an object")
        };
        let mut said: Vec<_> = attributes(event)
            .into_iter()
            .map(|one| {
                use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
                let value = match one.value.and_then(|value| value.value) {
                    Some(Any::StringValue(text)) => text,
                    Some(Any::IntValue(number)) => number.to_string(),
                    Some(Any::BoolValue(truth)) => truth.to_string(),
                    Some(Any::ArrayValue(list)) => format!("{} values", list.values.len()),
                    other => panic!("{other:?}"),
                };
                format!("{}={value}", one.key)
            })
            .collect();
        said.sort_unstable();
        let want = [
            "hopsight.offered_versions=2 values",
            "hopsight.process.cgroup_id=9",
            "hopsight.proxy=shop/edge",
            "hopsight.security=mtls",
            "hopsight.server_certificate.serial=0a",
            "hopsight.upstream=payments",
            "k8s.namespace.name=shop",
            "k8s.pod.name=edge-1",
            "network.local.address=10.0.0.1",
            "network.local.port=40000",
            "network.peer.address=10.0.0.2",
            "network.peer.port=8443",
            "network.transport=tcp",
            "network.type=ipv4",
            "process.pid=7",
            "server.address=fd00::2",
            "server.port=443",
            "thread.name=nginx",
            "tls.cipher=TLS_AES_128_GCM_SHA256",
            "tls.client.server_name=payments.internal",
            "tls.next_protocol=h2",
            "tls.protocol.name=tls",
            "tls.protocol.version=1.3",
            "tls.resumed=false",
            "tls.server.not_after=2026-11-23T14:35:00.000Z",
            "tls.server.subject=CN=payments",
        ];
        assert_eq!(said, want);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let Value::Object(event) = json!({
            "src": "", "origin": "packet_capture", "tls_version": "SSLv3", "pod": "edge-1",
        }) else {
            panic!("an object")
        };
        let keys: Vec<_> = attributes(event).into_iter().map(|one| one.key).collect();
        let want = ["hopsight.origin", "k8s.pod.name", "tls.protocol.name", "tls.protocol.version"];
        assert_eq!(keys, want);
    }
}
