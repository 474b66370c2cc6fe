//! HOPS.md, EVENTS.md and their schemas against the JSON that the agent writes.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, ServerVerified, Timestamp},
    report::{CarriedBy, ConnectionReport, EarlyData, Unseen},
    tls::{
        certificate_facts::CertificateAbsence,
        cryptography::{GroupAbsence, PostQuantum, SignatureAbsence},
        key_usage::{ExtendedKeyUse, KeyUse},
    },
};
use hopsight_export::{Exporter, events::Events};
use hopsight_posture::{
    hops::{
        change::{HopChange, IntentChange, Renewal, Side},
        context::IntentSummary,
        ends::Ends,
        moment::Moment,
        renewal::Renewed,
        table::{HopLimits, Snapshot},
        treatment::TreatmentKey,
        witness::Witness,
    },
    policy::{
        certificate::{ChainWord, RevocationReason, RevocationSource, RevocationWord},
        drift::{ClosedDrift, DriftEvent, Rule},
        intent::{Place, Scheme, Stated},
    },
};
use hopsight_tests::schema::Document;
use hopsight_tools::made_up;
use serde_json::{Value, json};

use crate::{blocks, document};

/// Names a Python that has `jsonschema` (it comes with what renders the chart); `cargo xtask test`
/// sets it.
pub const PYTHON: &str = "HOPSIGHT_CHART_PYTHON";

/// Objects whose keys are data.
const MAPS: [&str; 3] = ["labels", "failures", "unknown_reasons"];

fn examples(name: &str) -> Vec<Value> {
    let text = document(name);
    blocks(&text, "json").iter().map(|block| serde_json::from_str(block).unwrap()).collect()
}

pub fn schema(name: &str) -> Value {
    serde_json::from_str(&document(name)).unwrap()
}

/// The names of all fields in a value, at whatever depth.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                into.insert(key.clone());
                if !MAPS.contains(&key.as_str()) {
                    fields(value, into);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

/// Fails with the names of the fields that are missing, or too many, before values are compared.
fn assert_same(document: &str, shown: &Value, written: &Value) {
    let [mut there, mut here] = [BTreeSet::new(), BTreeSet::new()];
    fields(written, &mut there);
    fields(shown, &mut here);
    let different: Vec<_> = there.symmetric_difference(&here).collect();
    assert!(different.is_empty(), "{document} or the agent alone has {different:?}");
    assert_eq!(shown, written, "{document} shows another value than the agent writes");
}

/// The names of all properties of a schema, at whatever depth.
fn properties(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(named)) = object.get("properties") {
                into.extend(named.keys().cloned());
            }
            object.values().for_each(|value| properties(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| properties(value, into)),
        _ => {}
    }
}

/// Fails where a field is neither in the document's tables nor in the schema.
pub fn assert_described(value: &Value, text: &str, schema: &Value) {
    let (mut written, mut known) = (BTreeSet::new(), BTreeSet::new());
    fields(value, &mut written);
    properties(schema, &mut known);
    let described = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let described: BTreeSet<_> =
        described.map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    for field in &written {
        assert!(known.contains(field), "{field} is not in the schema");
        assert!(described.contains(field.as_str()), "{field} is not in the document");
    }
}

/// Fails where a document is not as its schema says.
pub fn assert_valid(document: Document, instances: &[Value]) {
    for instance in instances {
        let problems = document.problems(instance);
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

/// A file in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that an agent writes of what is sent.
fn written(send: impl FnOnce(&Events)) -> Vec<Value> {
    let lines = Lines::default();
    let witness = Witness {
        node: Some("node-1".into()),
        cluster: Some("production".into()),
        // That of the examples.
        agent_version: "0.1.0".into(),
        ..Witness::default()
    };
    let mut events = Events::of(witness);
    events.write_to("test", Box::new(lines.clone())).unwrap();
    send(&events);
    // Waits until everything is written.
    drop(events);
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_example_of_hops_is_what_the_agent_writes() {
    let examples = examples("HOPS.md");
    let [example] = &examples[..] else { panic!("one example") };
    let snapshot: Snapshot = serde_json::from_value(example.clone()).unwrap();
    let again = serde_json::to_value(&snapshot).unwrap();
    assert_same("HOPS.md", example, &again);
    assert_described(example, &document("HOPS.md"), &schema("hops.schema.json"));
}

#[test]
fn hops_are_valid() {
    let exporter = Exporter::new(HopLimits::default());
    for number in 0..200 {
        exporter.record(&made_up::connection(number % 40, number));
    }
    let made_up = serde_json::to_value(exporter.hops()).unwrap();
    assert_described(&made_up, &document("HOPS.md"), &schema("hops.schema.json"));
    let mut instances = examples("HOPS.md");
    instances.push(made_up);
    assert_valid(Document::Hops, &instances);
}

#[test]
fn the_examples_of_events_are_what_the_agent_writes() {
    let examples = examples("EVENTS.md");
    let [connection, drift] = &examples[..] else { panic!("two examples") };
    let mut report: ConnectionReport = serde_json::from_value(connection.clone()).unwrap();
    let ends = Ends {
        proxy: "web/edge".into(),
        upstream: "payments".into(),
        pod: Some("web/edge-8687847477-cbhqr".into()),
    };
    // A moment after it was opened.
    let monotonic = Timestamp(report.opened_at.0 + 50_500_000);
    let now = Moment { unix_seconds: 1_795_953_151.5, monotonic };
    let lines = written(|events| events.send(&ends, &report, now));
    assert_same("EVENTS.md", connection, &lines[0]);

    // 2026-11-29 11:52:00 UTC.
    let begin = 1_795_953_120_000_000_u64;
    let closed: ClosedDrift = serde_json::from_value(json!({
        "drift": {
            "proxy": "web/edge",
            "upstream": "payments",
            "name": "payments",
            "server": "10.42.0.10:8443",
            "rule": "client_certificate_missing",
            "violation": {
                "detail": "the upstream asked for a client certificate and got none",
                "place": {"file": "/etc/nginx/conf.d/upstreams.conf", "line": 17},
            },
            "since": begin + 250_000,
            "detected_at": begin + 350_000,
            "changed_at": begin - 250_000,
            "last_offending": begin + 350_000_000,
            "connections": 3,
            "preexisting": false,
        },
        "at": begin + 355_350_000,
        "end": "remediated",
    }))
    .unwrap();
    let opened = DriftEvent::Opened(closed.drift.clone());
    let key = |security, client_auth| TreatmentKey {
        security,
        client_auth,
        server_verified: ServerVerified::Yes,
    };
    let hop = HopChange {
        proxy: ends.proxy.clone(),
        upstream: ends.upstream.clone(),
        name: None,
        from: key(Security::Mtls, ClientAuth::Presented),
        to: key(Security::Tls, ClientAuth::NotRequested),
        server: Some("10.42.0.10:8443".parse().unwrap()),
    };
    let says = |client_certificate| IntentSummary {
        scheme: Scheme::Tls,
        client_certificate,
        verify: Stated::Yes,
        place: Some(Place { file: "/etc/nginx/nginx.conf".into(), line: 7 }),
    };
    let intent = IntentChange {
        proxy: ends.proxy.clone(),
        upstream: ends.upstream.clone(),
        name: Some("payments".into()),
        from: says(Stated::Yes),
        to: says(Stated::No),
        loaded_at: None,
    };
    let renewal = Renewal {
        proxy: ends.proxy.clone(),
        upstream: ends.upstream.clone(),
        name: None,
        side: Side::Client,
        server: "10.42.0.10:8443".parse().unwrap(),
        certificate: report.client_certificate.clone().unwrap(),
        renews: Renewed { serial: "01".into(), seconds_left: 86_400.0, lifetime_seconds: 8e6 },
    };
    let lines = written(|events| {
        events.send_drift(&DriftEvent::Closed(closed), 1_795_953_482.0);
        events.send_drift(&opened, 1_795_953_482.0);
        // What the example does not have.
        report.tunnel = Some("vlan:100".into());
        report.early_data = Some(EarlyData::Accepted);
        report.server_certificate_absent = Some(CertificateAbsence::Encrypted);
        report.client_certificate_absent = Some(CertificateAbsence::NotSent);
        report.cryptography.group_absent = Some(GroupAbsence::NotSeen);
        report.cryptography.server_signature_absent = Some(SignatureAbsence::Encrypted);
        report.cryptography.client_signature_absent = Some(SignatureAbsence::NotSent);
        events.send(&ends, &report, now);
        events.send_hop_change(&hop, 0.0);
        events.send_intent_change(&intent, 0.0);
        events.send_renewal(&renewal, 0.0);
        for number in 0..100 {
            events.send(&ends, &made_up::connection(number % 40, number), now);
        }
    });
    assert_same("EVENTS.md", drift, &lines[0]);
    let text = document("EVENTS.md");
    let schema = schema("events.schema.json");
    for line in &lines {
        assert_described(line, &text, &schema);
    }
    assert_valid(Document::Event, &lines);
}

#[test]
fn words_are_those_of_the_code() {
    macro_rules! words {
        ($type:ty) => {
            <$type>::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>()
        };
    }
    for name in ["hops.schema.json", "events.schema.json"] {
        let schema = schema(name);
        for (kind, words) in [
            ("security", words!(Security)),
            ("client_auth", words!(ClientAuth)),
            ("outcome", words!(Outcome)),
            ("evidence", words!(Evidence)),
            ("server_verified", words!(ServerVerified)),
            ("reason", words!(Reason)),
            ("rule", words!(Rule)),
            ("carried_by", words!(CarriedBy)),
            ("unseen", words!(Unseen)),
            ("certificate_absence", words!(CertificateAbsence)),
            ("group_absence", words!(GroupAbsence)),
            ("signature_absence", words!(SignatureAbsence)),
            ("key_use", words!(KeyUse)),
            ("extended_key_use", words!(ExtendedKeyUse)),
        ] {
            assert_eq!(schema["$defs"][kind]["enum"], json!(words), "{kind} in {name}");
        }
    }
    let hops = schema("hops.schema.json");
    assert_eq!(hops["$defs"]["post_quantum"]["enum"], json!(words!(PostQuantum)));
    for (kind, words) in [
        ("chain_word", words!(ChainWord)),
        ("revocation_word", words!(RevocationWord)),
        ("revocation_reason", words!(RevocationReason)),
        ("revocation_source", words!(RevocationSource)),
    ] {
        assert_eq!(hops["$defs"][kind]["enum"], json!(words), "{kind}");
    }
    let events = schema("events.schema.json");
    assert_eq!(events["$defs"]["early_data"]["enum"], json!(words!(EarlyData)));
    for name in ["HOPS.md", "EVENTS.md"] {
        let text = document(name);
        for reason in Reason::ALL {
            assert!(text.contains(&format!("`{reason}`")), "{reason} is not in {name}");
        }
    }
}
