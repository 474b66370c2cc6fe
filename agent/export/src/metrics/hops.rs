//! The hop table as metrics. Series exist exactly as long as their hop.

use std::collections::BTreeMap;

use super::samples::Samples;
use crate::metrics::catalogue::{
    CERTIFICATE_NOT_AFTER, CERTIFICATE_NOT_BEFORE, HOP_AUTHENTICATION_AGE, HOP_CONTINUES_ENCRYPTED,
    HOP_LAST_SEEN, HOP_OLDER_SESSIONS, HOP_SECURITY, HOP_SECURITY_SINCE, HOP_SERVER_VERIFIED, HOPS,
    HOPS_CRYPTOGRAPHY, HOPS_EVICTED, HOPS_EXPIRED, HOPS_LIMIT, HOPS_OVERFLOWED, INTENT_INFO,
    UNUSED_CONNECTIONS, UPSTREAM_ALERTS, UPSTREAM_CONNECTIONS, UPSTREAM_HANDSHAKE_FAILURES,
    UPSTREAM_RESUMED_CONNECTIONS, UPSTREAM_TLS_CONNECTIONS, UPSTREAM_UNKNOWN,
};
use hopsight_core::{
    model::{Security, ServerVerified},
    tls::cryptography::GroupAbsence,
};
use hopsight_posture::hops::{
    hop::Hop,
    labels::{OTHER, workload_parts},
    table::Snapshot,
};

/// Combinations of version, group and answer that are kept apart. There are some dozens in use.
const MAX_CRYPTOGRAPHY: usize = 64;

/// Adds the samples of every hop and of the table.
pub fn collect(snapshot: &Snapshot, samples: &mut Samples) {
    samples.count(HOPS, [], snapshot.hops.len() as u64);
    samples.count(HOPS_LIMIT, [], snapshot.max_hops as u64);
    samples.count(HOPS_OVERFLOWED, [], snapshot.totals.overflowed_connections);
    samples.count(HOPS_EXPIRED, [], snapshot.totals.expired_hops);
    samples.count(UNUSED_CONNECTIONS, [], snapshot.totals.unused_connections);
    samples.count(HOPS_EVICTED, [], snapshot.totals.evicted_hops);
    collect_cryptography(snapshot, samples);
    for hop in &snapshot.hops {
        collect_counts(hop, samples);
        collect_state(hop, samples);
        collect_sessions(hop, snapshot.at, samples);
        collect_intent(hop, samples);
    }
}

/// The labels of both ends: the proxy, its namespace and workload, the upstream.
fn ends(hop: &Hop) -> [&str; 4] {
    let [namespace, workload] = workload_parts(&hop.proxy);
    [&hop.proxy, namespace, workload, &hop.upstream]
}

fn collect_cryptography(snapshot: &Snapshot, samples: &mut Samples) {
    let mut hops: BTreeMap<[&str; 3], u64> = BTreeMap::new();
    for kind in snapshot.hops.iter().filter_map(|hop| hop.cryptography.weakest()) {
        let absent = || kind.group_absent.map_or("", GroupAbsence::as_str);
        let group = kind.group.as_deref().unwrap_or_else(absent);
        let key = [&*kind.version, group, kind.post_quantum.as_str()];
        let is_kept = hops.len() < MAX_CRYPTOGRAPHY || hops.contains_key(&key);
        *hops.entry(if is_kept { key } else { [OTHER; 3] }).or_default() += 1;
    }
    for (key, count) in hops {
        samples.count(HOPS_CRYPTOGRAPHY, key, count);
    }
}

fn collect_counts(hop: &Hop, samples: &mut Samples) {
    let [proxy, namespace, workload, upstream] = ends(hop);
    for tally in &hop.counts.connections {
        let values = [
            proxy,
            namespace,
            workload,
            upstream,
            tally.security.as_str(),
            tally.client_auth.as_str(),
            tally.evidence.as_str(),
            tally.outcome.as_str(),
        ];
        samples.count(UPSTREAM_CONNECTIONS, values, tally.connections);
    }
    for (reason, &count) in &hop.counts.unknown_reasons {
        samples.count(
            UPSTREAM_UNKNOWN,
            [proxy, namespace, workload, upstream, reason.as_str()],
            count,
        );
    }
    for (reason, &count) in &hop.counts.failures {
        samples.count(
            UPSTREAM_HANDSHAKE_FAILURES,
            [proxy, namespace, workload, upstream, reason],
            count,
        );
    }
    for alert in &hop.counts.alerts {
        let values = [proxy, namespace, workload, upstream, &*alert.from, &*alert.alert];
        samples.count(UPSTREAM_ALERTS, values, alert.count);
    }
    for negotiated in &hop.counts.negotiated {
        let values =
            [proxy, namespace, workload, upstream, &*negotiated.version, &*negotiated.cipher];
        samples.count(UPSTREAM_TLS_CONNECTIONS, values, negotiated.connections);
    }
    if hop.counts.resumption_known > 0 {
        samples.count(
            UPSTREAM_RESUMED_CONNECTIONS,
            [proxy, namespace, workload, upstream],
            hop.counts.resumed_connections,
        );
    }
}

fn collect_sessions(hop: &Hop, now: f64, samples: &mut Samples) {
    if let Some(done) = hop.authenticated_at {
        samples.set(HOP_AUTHENTICATION_AGE, ends(hop), (now - done).max(0.0));
    }
    if let Some(older) = &hop.older_sessions {
        samples.set(HOP_OLDER_SESSIONS, ends(hop), older.before);
    }
}

fn collect_intent(hop: &Hop, samples: &mut Samples) {
    let Some(intent) = &hop.context.intent else { return };
    let [proxy, namespace, workload, upstream] = ends(hop);
    let values = [
        proxy,
        namespace,
        workload,
        upstream,
        hop.context.name.as_deref().unwrap_or_default(),
        intent.scheme.as_str(),
        intent.client_certificate.as_str(),
        intent.verify.as_str(),
    ];
    samples.count(INTENT_INFO, values, 1);
}

fn collect_state(hop: &Hop, samples: &mut Samples) {
    let [proxy, namespace, workload, upstream] = ends(hop);
    for word in Security::ALL {
        let is_current = u64::from(*word == hop.state.security);
        samples.count(
            HOP_SECURITY,
            [proxy, namespace, workload, upstream, word.as_str()],
            is_current,
        );
    }
    if matches!(hop.state.security, Security::Mtls | Security::Tls) {
        for word in ServerVerified::ALL {
            let is_current = u64::from(*word == hop.state.server_verified);
            samples.count(
                HOP_SERVER_VERIFIED,
                [proxy, namespace, workload, upstream, word.as_str()],
                is_current,
            );
        }
    }
    if let Some(word) = hop.continues_encrypted {
        let values = [proxy, namespace, workload, upstream, word.as_str()];
        samples.count(HOP_CONTINUES_ENCRYPTED, values, 1);
    }
    samples.set(HOP_SECURITY_SINCE, [proxy, namespace, workload, upstream], hop.security_since);
    samples.set(HOP_LAST_SEEN, [proxy, namespace, workload, upstream], hop.last_seen);
    for (side, facts) in [("client", &hop.client_certificate), ("server", &hop.server_certificate)]
    {
        if let Some(facts) = facts {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are f64")]
            let [not_before, not_after] = [facts.not_before as f64, facts.not_after as f64];
            samples.set(
                CERTIFICATE_NOT_AFTER,
                [proxy, namespace, workload, upstream, side],
                not_after,
            );
            samples.set(
                CERTIFICATE_NOT_BEFORE,
                [proxy, namespace, workload, upstream, side],
                not_before,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Exporter;
    use hopsight_core::model::Security;
    use hopsight_posture::hops::{
        ends::Ends,
        evaluation::Evaluation,
        table::HopLimits,
        testing::{at, report},
    };

    #[test]
    fn hops_are_counted_once_by_the_weakest_that_they_use() {
        let exporter = Exporter::new(HopLimits::default());
        let mut second = 0.0;
        let mut note = |upstream: &str, version: &'static str, group: &str, offered: &[&str]| {
            let ends = Ends { proxy: "nginx".into(), upstream: upstream.into(), pod: None };
            let mut report = report(1, Security::Mtls);
            report.tls_version = Some(version.into());
            report.offered_versions = vec!["1.3".into()];
            report.cryptography.group = Some(group.to_owned().into());
            let offered = offered.iter().map(|name| (*name).to_owned().into());
            report.cryptography.offered_groups = offered.collect();
            second += 1.0;
            exporter.record_between(&ends, &report, Evaluation::default(), at(second));
        };
        let hybrid = &["X25519MLKEM768", "x25519"];
        note("a", "1.3", "X25519MLKEM768", hybrid);
        note("b", "1.3", "X25519MLKEM768", hybrid);
        note("b", "1.3", "x25519", hybrid);
        note("b", "1.3", "X25519MLKEM768", hybrid);
        note("c", "1.3", "x25519", &["x25519"]);
        for number in 0..70 {
            note(&format!("many-{number}"), "1.3", &format!("0x{number:04X}"), &["x25519"]);
        }
        let text = exporter.gather().expect("exposition");
        let of = |labels: &str| {
            let begin = format!("hopsight_hops_cryptography{{{labels}}} ");
            text.lines().find_map(|line| line.strip_prefix(&begin)?.parse::<u64>().ok())
        };
        let words = [
            (r#"version="1.3",group="X25519MLKEM768",post_quantum="yes""#, Some(1)),
            (r#"version="1.3",group="x25519",post_quantum="not_selected""#, Some(1)),
            (r#"version="1.3",group="x25519",post_quantum="not_offered""#, Some(1)),
            (r#"version="~other",group="~other",post_quantum="~other""#, Some(9)),
        ];
        for (labels, expected) in words {
            assert_eq!(of(labels), expected, "{labels}: {text}");
        }
    }

    #[test]
    fn every_series_of_a_workload_has_its_names() {
        let exporter = Exporter::new(HopLimits::default());
        let ends = Ends { proxy: "web/edge".into(), upstream: "billing".into(), pod: None };
        exporter.record_between(&ends, &report(1, Security::Mtls), Evaluation::default(), at(1.0));
        let text = exporter.gather().expect("exposition");
        let of_hop: Vec<_> =
            text.lines().filter(|line| line.contains("upstream=\"billing\"")).collect();
        assert!(of_hop.len() >= 8, "{text}");
        let named = "{proxy=\"web/edge\",proxy_namespace=\"web\",proxy_workload=\"edge\",";
        let nameless: Vec<_> = of_hop.iter().filter(|line| !line.contains(named)).collect();
        assert!(nameless.is_empty(), "{nameless:#?}");
    }
}
