//! The hop table as metrics. Series exist exactly as long as their hop.

use super::samples::Samples;
use crate::metrics::catalogue::{
    CERTIFICATE_NOT_AFTER, CERTIFICATE_NOT_BEFORE, HOP_CONTINUES_ENCRYPTED, HOP_LAST_SEEN,
    HOP_SECURITY, HOP_SECURITY_SINCE, HOP_SERVER_VERIFIED, HOPS, HOPS_EXPIRED, HOPS_LIMIT,
    HOPS_OVERFLOWED, INTENT_INFO, UPSTREAM_ALERTS, UPSTREAM_CONNECTIONS,
    UPSTREAM_HANDSHAKE_FAILURES, UPSTREAM_RESUMED_CONNECTIONS, UPSTREAM_TLS_CONNECTIONS,
    UPSTREAM_UNKNOWN,
};
use hopsight_core::{
    hops::{hop::Hop, table::Snapshot},
    model::{Security, ServerVerified},
};

/// Adds the samples of every hop and of the table.
pub fn collect(snapshot: &Snapshot, samples: &mut Samples) {
    samples.count(HOPS, [], snapshot.hops.len() as u64);
    samples.count(HOPS_LIMIT, [], snapshot.max_hops as u64);
    samples.count(HOPS_OVERFLOWED, [], snapshot.totals.overflowed_connections);
    samples.count(HOPS_EXPIRED, [], snapshot.totals.expired_hops);
    for hop in &snapshot.hops {
        collect_counts(hop, samples);
        collect_state(hop, samples);
        collect_intent(hop, samples);
    }
}

fn collect_counts(hop: &Hop, samples: &mut Samples) {
    let (proxy, upstream) = (&*hop.proxy, &*hop.upstream);
    for tally in &hop.counts.connections {
        let values = [
            proxy,
            upstream,
            tally.security.as_str(),
            tally.client_auth.as_str(),
            tally.evidence.as_str(),
            tally.outcome.as_str(),
        ];
        samples.count(UPSTREAM_CONNECTIONS, values, tally.connections);
    }
    for (reason, &count) in &hop.counts.unknown_reasons {
        samples.count(UPSTREAM_UNKNOWN, [proxy, upstream, reason.as_str()], count);
    }
    for (reason, &count) in &hop.counts.failures {
        samples.count(UPSTREAM_HANDSHAKE_FAILURES, [proxy, upstream, reason], count);
    }
    for alert in &hop.counts.alerts {
        let values = [proxy, upstream, &*alert.from, &*alert.alert];
        samples.count(UPSTREAM_ALERTS, values, alert.count);
    }
    for negotiated in &hop.counts.negotiated {
        let values = [proxy, upstream, &*negotiated.version, &*negotiated.cipher];
        samples.count(UPSTREAM_TLS_CONNECTIONS, values, negotiated.connections);
    }
    if hop.counts.resumption_known > 0 {
        samples.count(
            UPSTREAM_RESUMED_CONNECTIONS,
            [proxy, upstream],
            hop.counts.resumed_connections,
        );
    }
}

fn collect_intent(hop: &Hop, samples: &mut Samples) {
    let Some(intent) = &hop.context.intent else { return };
    let values = [
        &*hop.proxy,
        &*hop.upstream,
        hop.context.name.as_deref().unwrap_or_default(),
        intent.scheme.as_str(),
        intent.client_certificate.as_str(),
        intent.verify.as_str(),
    ];
    samples.count(INTENT_INFO, values, 1);
}

fn collect_state(hop: &Hop, samples: &mut Samples) {
    let (proxy, upstream) = (&*hop.proxy, &*hop.upstream);
    for word in Security::ALL {
        let is_current = u64::from(*word == hop.state.security);
        samples.count(HOP_SECURITY, [proxy, upstream, word.as_str()], is_current);
    }
    if matches!(hop.state.security, Security::Mtls | Security::Tls) {
        for word in ServerVerified::ALL {
            let is_current = u64::from(*word == hop.state.server_verified);
            samples.count(HOP_SERVER_VERIFIED, [proxy, upstream, word.as_str()], is_current);
        }
    }
    if let Some(word) = hop.continues_encrypted {
        samples.count(HOP_CONTINUES_ENCRYPTED, [proxy, upstream, word.as_str()], 1);
    }
    samples.set(HOP_SECURITY_SINCE, [proxy, upstream], hop.security_since);
    samples.set(HOP_LAST_SEEN, [proxy, upstream], hop.last_seen);
    for (side, facts) in [("client", &hop.client_certificate), ("server", &hop.server_certificate)]
    {
        if let Some(facts) = facts {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are f64")]
            let [not_before, not_after] = [facts.not_before as f64, facts.not_after as f64];
            samples.set(CERTIFICATE_NOT_AFTER, [proxy, upstream, side], not_after);
            samples.set(CERTIFICATE_NOT_BEFORE, [proxy, upstream, side], not_before);
        }
    }
}
