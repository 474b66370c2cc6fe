//! From objects of Istio to what is kept of them.

use kube::api::{Object, ObjectMeta};
use serde::Deserialize;

use super::{
    small::{MAX_ENTRIES, are_few, is_short},
    status::{Status, current},
};
use hopsight_posture::workload::{
    istio::{
        ClientTls, DestinationRule, PeerAuthentication, PeerMode, Subset, TlsMode, TrafficPolicy,
    },
    selector::Labels,
    standing::OF_ISTIO,
};

/// In seconds after 1970; 0 where an object does not say.
fn created_at(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MatchLabels {
    match_labels: Labels,
}

/// A DestinationRule.
pub(super) type Rule = Object<RuleSpec, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuleSpec {
    host: String,
    export_to: Vec<String>,
    workload_selector: Option<MatchLabels>,
    traffic_policy: Option<PolicySpec>,
    subsets: Vec<SubsetSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubsetSpec {
    name: String,
    labels: Labels,
    traffic_policy: PolicySpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicySpec {
    tls: Option<TlsSpec>,
    port_level_settings: Vec<PortSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PortSpec {
    port: PortSelector,
    tls: Option<TlsSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PortSelector {
    number: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TlsSpec {
    mode: String,
    client_certificate: Option<String>,
    credential_name: Option<String>,
    ca_certificates: Option<String>,
    subject_alt_names: Vec<String>,
    sni: Option<String>,
    insecure_skip_verify: Option<bool>,
}

impl TlsSpec {
    fn is_small(&self) -> bool {
        let Self { client_certificate, credential_name, ca_certificates, sni, .. } = self;
        let texts = [client_certificate, credential_name, ca_certificates, sni];
        let mut all = texts.into_iter().flatten().chain(&self.subject_alt_names);
        self.subject_alt_names.len() <= MAX_ENTRIES && all.all(|text| is_short(text))
    }
}

/// `None` of one whose host no Service can have.
pub(super) fn rule(rule: Rule) -> Option<DestinationRule> {
    let RuleSpec { host, export_to, workload_selector, traffic_policy, subsets } = rule.spec;
    if !is_short(&host) {
        return None;
    }
    let kept = DestinationRule {
        created_at: created_at(&rule.metadata),
        host,
        conditions: current(&rule.metadata, rule.status, OF_ISTIO),
        ..DestinationRule::default()
    };
    let is_small = export_to.len() <= MAX_ENTRIES
        && export_to.iter().all(|one| is_short(one))
        && subsets.len() <= MAX_ENTRIES
        && subsets.iter().all(|one| is_short(&one.name) && are_few(&one.labels))
        && workload_selector.iter().all(|one| are_few(&one.match_labels));
    if !is_small {
        let tls = Some(ClientTls::default());
        let policy = Some(TrafficPolicy { tls, ports: Vec::new() });
        return Some(DestinationRule { policy, ..kept });
    }
    let subset = |SubsetSpec { name, labels, traffic_policy }| Subset {
        name,
        labels,
        policy: policy(traffic_policy),
    };
    // An empty selector selects every proxy.
    let workloads = workload_selector.map(|one| one.match_labels).filter(|all| !all.is_empty());
    Some(DestinationRule {
        export_to,
        workloads,
        policy: traffic_policy.map(policy),
        subsets: subsets.into_iter().map(subset).collect(),
        ..kept
    })
}

fn policy(PolicySpec { tls, port_level_settings }: PolicySpec) -> TrafficPolicy {
    if port_level_settings.len() > MAX_ENTRIES {
        return TrafficPolicy { tls: Some(ClientTls::default()), ports: Vec::new() };
    }
    let port = |PortSpec { port, tls }: PortSpec| {
        Some((u16::try_from(port.number).ok()?, tls.map(self::tls)))
    };
    TrafficPolicy {
        tls: tls.map(self::tls),
        ports: port_level_settings.into_iter().filter_map(port).collect(),
    }
}

fn tls(spec: TlsSpec) -> ClientTls {
    if !spec.is_small() {
        return ClientTls::default();
    }
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    ClientTls {
        mode: match spec.mode.as_str() {
            // What is left out is the first of the modes.
            "" | "DISABLE" => TlsMode::Disable,
            "SIMPLE" => TlsMode::Simple,
            "MUTUAL" => TlsMode::Mutual,
            "ISTIO_MUTUAL" => TlsMode::IstioMutual,
            _ => TlsMode::Unknown,
        },
        certificate: said(spec.client_certificate),
        credential: said(spec.credential_name),
        authorities: said(spec.ca_certificates),
        names: spec.subject_alt_names,
        sni: said(spec.sni),
        skips_verification: spec.insecure_skip_verify == Some(true),
    }
}

/// A PeerAuthentication.
pub(super) type Peer = Object<PeerSpec, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PeerSpec {
    selector: MatchLabels,
    mtls: MtlsSpec,
    port_level_mtls: std::collections::BTreeMap<String, MtlsSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct MtlsSpec {
    mode: String,
}

impl MtlsSpec {
    fn mode(&self) -> PeerMode {
        match self.mode.as_str() {
            "" | "UNSET" => PeerMode::Unset,
            "DISABLE" => PeerMode::Disable,
            "PERMISSIVE" => PeerMode::Permissive,
            "STRICT" => PeerMode::Strict,
            _ => PeerMode::Unknown,
        }
    }
}

/// What is more than is kept may be for any workload of its namespace.
pub(super) fn peer(peer: Peer) -> PeerAuthentication {
    let PeerSpec { selector, mtls, port_level_mtls } = peer.spec;
    let kept = PeerAuthentication {
        created_at: created_at(&peer.metadata),
        conditions: current(&peer.metadata, peer.status, OF_ISTIO),
        ..PeerAuthentication::default()
    };
    if !are_few(&selector.match_labels) || port_level_mtls.len() > MAX_ENTRIES {
        return PeerAuthentication { mode: PeerMode::Unknown, ..kept };
    }
    let port = |(port, mtls): (&String, &MtlsSpec)| Some((port.parse().ok()?, mtls.mode()));
    PeerAuthentication {
        selector: selector.match_labels,
        mode: mtls.mode(),
        ports: port_level_mtls.iter().filter_map(port).collect(),
        ..kept
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: DeserializeOwned>(spec: &Value) -> T {
        let metadata = json!({
            "name": "a", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z",
            "generation": 2,
        });
        let status = json!({
            "observedGeneration": "2",
            "conditions": [
                {"type": "PassedAnalysis", "status": "True", "observedGeneration": 2},
                {"type": "Other", "status": "Unknown", "observedGeneration": 1},
                {"type": "Reconciled", "status": "False", "message": "61/122 complete"},
            ],
            "validationMessages": [{"code": "IST0101", "level": "Error"}],
        });
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    }

    #[test]
    fn a_destination_rule() {
        let spec = json!({
            "host": "payments.shop.svc.cluster.local",
            "exportTo": [".", "web"],
            "workloadSelector": {"matchLabels": {"app": "edge"}},
            "trafficPolicy": {
                "loadBalancer": {"simple": "LEAST_REQUEST"},
                "tls": {
                    "mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem",
                    "caCertificates": "/ca.pem", "subjectAltNames": ["a.test"], "sni": "b.test",
                    "insecureSkipVerify": true,
                },
                "portLevelSettings": [
                    {"port": {"number": 443}, "tls": {"mode": "ISTIO_MUTUAL"}},
                    {"port": {"number": 80}, "loadBalancer": {}},
                    {"port": {"number": 70000}, "tls": {"mode": "SIMPLE"}},
                ],
            },
            "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {"name": "v2", "labels": {"version": "v2"},
                 "trafficPolicy": {"tls": {"mode": "SIMPLE", "credentialName": "client"}}},
            ],
        });
        let found = rule(object(&spec)).unwrap();
        assert_eq!((found.created_at, found.export_to.len()), (1_767_323_045, 2));
        assert_eq!(found.workloads.as_ref().unwrap()["app"], "edge");
        assert_eq!(found.conditions.0, [("Reconciled", false), ("PassedAnalysis", true)]);
        let policy = found.policy.unwrap();
        let tls = policy.tls.unwrap();
        assert_eq!((tls.mode, tls.certificate.as_deref()), (TlsMode::Mutual, Some("/c.pem")));
        assert_eq!(
            (tls.authorities.as_deref(), tls.sni.as_deref()),
            (Some("/ca.pem"), Some("b.test"))
        );
        assert!(tls.skips_verification);
        let ports: Vec<_> = policy
            .ports
            .iter()
            .map(|(port, tls)| (*port, tls.as_ref().map(|tls| tls.mode)))
            .collect();
        assert_eq!(ports, [(443, Some(TlsMode::IstioMutual)), (80, None)]);
        assert_eq!(found.subsets[0].policy, TrafficPolicy::default());
        let tls = found.subsets[1].policy.tls.as_ref().unwrap();
        assert_eq!((tls.mode, tls.credential.as_deref()), (TlsMode::Simple, Some("client")));
    }

    #[test]
    fn modes_and_bounds() {
        let mode_of = |policy: Value| {
            let found =
                rule(object(&json!({"host": "payments", "trafficPolicy": policy}))).unwrap();
            found.policy.and_then(|policy| policy.tls).map(|tls| tls.mode)
        };
        let many = |one: Value| vec![one; MAX_ENTRIES + 1];
        for (policy, expected) in [
            (json!({}), None),
            (json!({"tls": {}}), Some(TlsMode::Disable)),
            (json!({"tls": {"mode": "DISABLE"}}), Some(TlsMode::Disable)),
            (json!({"tls": {"mode": "NEW"}}), Some(TlsMode::Unknown)),
            (
                json!({"tls": {"mode": "SIMPLE", "subjectAltNames": many(json!("a"))}}),
                Some(TlsMode::Unknown),
            ),
            (json!({"tls": {"mode": "SIMPLE", "sni": "a".repeat(2000)}}), Some(TlsMode::Unknown)),
            (
                json!({"portLevelSettings": many(json!({"port": {"number": 1}}))}),
                Some(TlsMode::Unknown),
            ),
        ] {
            assert_eq!(mode_of(policy.clone()), expected, "{policy}");
        }
        let subsets = json!({"host": "payments", "subsets": many(json!({"name": "v1"}))});
        let found = rule(object(&subsets)).unwrap();
        assert_eq!(
            (found.subsets.len(), found.policy.unwrap().tls.unwrap().mode),
            (0, TlsMode::Unknown)
        );
        assert_eq!(rule(object(&json!({"host": "a".repeat(2000)}))), None);
    }

    #[test]
    fn a_peer_authentication() {
        let spec = json!({
            "selector": {"matchLabels": {"app": "payments"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"8443": {"mode": "PERMISSIVE"}, "9000": {}, "x": {"mode": "STRICT"}},
        });
        let found = peer(object(&spec));
        assert_eq!((found.mode, found.selector["app"].as_str()), (PeerMode::Strict, "payments"));
        assert_eq!(found.ports, [(8443, PeerMode::Permissive), (9000, PeerMode::Unset)]);
        for (spec, expected) in [
            (json!({}), PeerMode::Unset),
            (json!({"mtls": {"mode": "DISABLE"}}), PeerMode::Disable),
            (json!({"mtls": {"mode": "NEW"}}), PeerMode::Unknown),
            (
                json!({"selector": {"matchLabels": {"app": "a".repeat(2000)}}, "mtls": {"mode": "STRICT"}}),
                PeerMode::Unknown,
            ),
        ] {
            assert_eq!(peer(object(&spec)).mode, expected, "{spec}");
        }
    }
}
