//! Bootstrap files in `fixtures/envoy` with what they mean, written by hand in their first lines: `#>`
//! one route each and `#?` one remark each. `config_dump.json` is a real Envoy's answer.

use std::{fs, path::Path};

use super::*;
use crate::policy::{
    described::{routes, said},
    intent::{Scheme, Stated},
};

fn fixture(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/envoy");
    fs::read_to_string(directory.join(name)).unwrap()
}

fn dump() -> ConfigDump {
    serde_json::from_str(&fixture("config_dump.json")).unwrap()
}

#[test]
fn bootstraps_mean_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/envoy");
    let mut good = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fixture(&name);
        let read: Bootstrap = read_yaml(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let intent = bootstrap(&read, "envoy.yaml").unwrap();
        assert_eq!(routes(&intent), said(&text, "#>"), "{name}");
        let remarks = intent.remarks.iter().map(|one| format!("{}: {}", one.at, one.text));
        assert_eq!(remarks.collect::<Vec<_>>(), said(&text, "#?"), "{name}");
        good += 1;
    }
    assert!(good >= 30, "only {good} fixtures were found");
}

#[test]
fn what_a_real_one_runs_is_read() {
    let running = running(&dump()).unwrap();
    let versions = "protocols=TLSv1.2,TLSv1.3";
    assert_eq!(
        routes(&running.intent),
        [
            "fixed transport_socket plaintext -> 10.0.0.9:80".to_owned(),
            format!(
                "discovered transport_socket tls cert=sds:client verify ca=sds:authorities \
                 name=app.internal sni=app.internal {versions} -> 10.0.0.7:443"
            ),
            format!(
                "inline transport_socket tls cert=/etc/envoy/client.pem {versions} -> 10.0.0.8:443"
            ),
        ]
    );
    assert_eq!(running.warming, 0);
    assert!(running.updated.as_deref().is_some_and(|at| at.starts_with("2026-11-29T18:39:0")));
}

#[test]
fn what_warms_is_not_in_force() {
    let text =
        fixture("config_dump.json").replace("dynamic_active_clusters", "dynamic_warming_clusters");
    let running = running(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(running.warming, 2);
    assert_eq!(running.intent.upstreams.len(), 1);
    assert_eq!(running.intent.remarks.len(), 1);
}

#[test]
fn a_secret_that_is_not_there_is_unknown() {
    let text =
        fixture("config_dump.json").replace("dynamic_active_secrets", "dynamic_warming_secrets");
    let running = running(&serde_json::from_str(&text).unwrap()).unwrap();
    let discovered = &running.intent.upstreams[1];
    assert_eq!(
        (discovered.scheme(), discovered.client_certificate(), discovered.verify()),
        (Scheme::Tls, Stated::Yes, Stated::Unknown)
    );
}

#[test]
fn filters_of_other_kinds_do_not_disturb() {
    for cluster in ["{\"a\": [1]}", "[1, {}]", "7", "true", "null", "1.5", "-1"] {
        let text = format!(
            r#"{{"configs": [{{"static_listeners": [{{"listener": {{"filter_chains": [{{"filters":
            [{{"typed_config": {{"@type": "x.Other", "cluster": {cluster}}}}}]}}]}}}}]}}]}}"#
        );
        let dump: ConfigDump = serde_json::from_str(&text).unwrap();
        assert_eq!(running(&dump).unwrap().intent.upstreams, [], "{cluster}");
    }
}

#[test]
fn routes_from_elsewhere_lead_to_clusters_too() {
    let routes = |cluster: &str| {
        format!(
            r#"{{"dynamic_route_configs": [{{"route_config": {{"virtual_hosts": [{{"routes":
            [{{"route": {{"weighted_clusters": {{"clusters": [{{"name": "{cluster}"}}]}}}}}}]}}]}}}}]}}"#
        )
    };
    for (name, more, expected) in [
        ("none", "{}".to_owned(), Scheme::Passthrough),
        ("to another", routes("b"), Scheme::Passthrough),
        ("to it", routes("a"), Scheme::Unknown),
    ] {
        let text = format!(
            r#"{{"configs": [{{"static_clusters": [{{"cluster": {{"name": "a"}}}}]}}, {{"dynamic_listeners":
            [{{"active_state": {{"listener": {{"filter_chains": [{{"filters": [{{"typed_config": {{"cluster":
            "a", "@type": "x.v3.TcpProxy"}}}}, {{"typed_config": {{"@type": "x.v3.HttpConnectionManager",
            "rds": {{"route_config_name": "r"}}}}}}]}}]}}}}}}]}}, {more}]}}"#
        );
        let running = running(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(running.intent.upstreams[0].scheme(), expected, "{name}");
    }
}

#[test]
fn no_prefix_of_an_answer_panics() {
    let text = fixture("config_dump.json");
    for (end, _) in text.char_indices() {
        if let Ok(dump) = serde_json::from_str::<ConfigDump>(&text[..end]) {
            let _ = running(&dump);
        }
    }
}

#[test]
fn clusters_are_bounded() {
    let cluster = r#"{"cluster": {"name": "a"}},"#.repeat(MAX_CLUSTERS + 1);
    let text =
        format!(r#"{{"configs": [{{"static_clusters": [{}]}}]}}"#, cluster.trim_end_matches(','));
    let error = running(&serde_json::from_str(&text).unwrap()).unwrap_err();
    assert!(error.to_string().contains("more than 50000 clusters"), "{error}");
}
