//! Drift as metrics and as events.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    policy::{self, PolicyView},
    samples::{Collect, Samples},
};
use crate::{
    metrics::catalogue::{
        DRIFT_OPEN, POLICY_REPORTS_DROPPED, POLICY_VIOLATION, PROXY_CONFIG_PENDING_RELOAD,
        PROXY_INFO,
    },
    time,
};
use hopsight_core::tls::fingerprint::Fingerprint;
use hopsight_posture::{
    hops::labels::workload_parts,
    policy::{
        drift::{ClosedDrift, DriftEvent, End, OpenDrift, Rule},
        time::UnixTime,
    },
};

/// A drift that was remedied: proxy, upstream and rule.
pub type Mended = (Arc<str>, Arc<str>, Rule);

/// What scrapes show of drift; replaced as a whole by its owner.
#[derive(Clone, Debug, Default)]
pub struct DriftView {
    /// The open drifts.
    pub open: Vec<OpenDrift>,
    /// Drifts that are closed and not open again, each once.
    pub mended: Vec<Mended>,
    /// What the policy file means for the hops.
    pub policy: PolicyView,
    /// Per proxy label, whether a configuration was changed and not loaded yet.
    pub pending_reload: Vec<(Arc<str>, bool)>,
    /// Proxies in pods: proxy label, namespace, kind and name of the workload.
    pub workloads: Vec<[Arc<str>; 4]>,
    /// Reports of hops beyond the limit.
    pub beyond_limit: u64,
}

/// Shared between the compliance thread, which sets it, and scrapes, which read it.
#[derive(Debug, Default)]
pub struct DriftBoard {
    view: Mutex<Arc<DriftView>>,
    /// Reports that found the queue full.
    queue_full: AtomicU64,
}

impl DriftBoard {
    /// Replaces what is shown.
    pub fn show(&self, view: DriftView) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Digest of the policy file in force.
    #[must_use]
    pub fn policy_sha256(&self) -> Option<Fingerprint> {
        self.view().policy.sha256
    }

    /// Reports that were not evaluated, for whatever reason.
    #[must_use]
    pub fn not_evaluated(&self) -> u64 {
        self.view().beyond_limit + self.queue_full.load(Ordering::Relaxed)
    }

    fn view(&self) -> Arc<DriftView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A report was not evaluated because the queue was full.
    pub fn count_dropped(&self) {
        self.queue_full.fetch_add(1, Ordering::Relaxed);
    }
}

impl Collect for Arc<DriftBoard> {
    fn collect(&self, samples: &mut Samples) {
        let view = self.view();
        let now = UnixTime::from(SystemTime::now());
        // Of the servers of a hop the one that has been in violation for longest.
        let mut open: BTreeMap<[&str; 3], Duration> = BTreeMap::new();
        for drift in &view.open {
            let values = [&*drift.proxy, &*drift.upstream, drift.rule.as_str()];
            let longest = open.entry(values).or_default();
            *longest = (*longest).max(drift.open_for(now));
        }
        for ([proxy, upstream, rule], open_for) in open {
            let [namespace, workload] = workload_parts(proxy);
            let values = [proxy, namespace, workload, upstream, rule];
            samples.count(POLICY_VIOLATION, values, 1);
            samples.set(DRIFT_OPEN, values, open_for.as_secs_f64());
        }
        for (proxy, upstream, rule) in &view.mended {
            let [namespace, workload] = workload_parts(proxy);
            let values = [&**proxy, namespace, workload, upstream, rule.as_str()];
            samples.count(POLICY_VIOLATION, values, 0);
        }
        policy::collect(&view.policy, samples);
        for (proxy, pending) in &view.pending_reload {
            let [namespace, workload] = workload_parts(proxy);
            let values = [&**proxy, namespace, workload];
            samples.count(PROXY_CONFIG_PENDING_RELOAD, values, u64::from(*pending));
        }
        for [proxy, namespace, kind, name] in &view.workloads {
            samples.count(PROXY_INFO, [&**proxy, namespace, kind, name], 1);
        }
        let queue_full = self.queue_full.load(Ordering::Relaxed);
        samples.count(POLICY_REPORTS_DROPPED, ["queue_full"], queue_full);
        samples.count(POLICY_REPORTS_DROPPED, ["too_many_hops"], view.beyond_limit);
    }
}

/// A drift event as a line of JSON. Times are RFC 3339, durations seconds.
#[derive(Serialize)]
pub(crate) struct DriftLine<'a> {
    time: String,
    event: &'static str,
    proxy: &'a str,
    upstream: &'a str,
    name: Option<&'a str>,
    rule: Rule,
    detail: &'a str,
    place: Option<String>,
    since: String,
    detected_at: String,
    /// When the configuration that caused it was loaded.
    changed_at: Option<String>,
    /// Absent where its cause is older than the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    detection_seconds: Option<f64>,
    preexisting: bool,
    server: SocketAddr,
    connections: u64,
    #[serde(flatten)]
    end: Option<Ended>,
}

#[derive(Serialize)]
struct Ended {
    closed_at: String,
    end: End,
    open_seconds: f64,
    remediation_seconds: Option<f64>,
}

impl<'a> DriftLine<'a> {
    /// `event` as told at `now` (seconds since the Unix epoch).
    pub(crate) fn new(event: &'a DriftEvent, now: f64) -> Self {
        let text = |at: UnixTime| time::rfc3339(at.as_secs_f64());
        let (word, drift, end) = match event {
            DriftEvent::Opened(drift) => ("drift_opened", drift, None),
            DriftEvent::Closed(closed) => ("drift_closed", &closed.drift, Some(closed)),
        };
        let ended = |closed: &ClosedDrift| Ended {
            closed_at: text(closed.at),
            end: closed.end,
            open_seconds: closed.drift.open_for(closed.at).as_secs_f64(),
            remediation_seconds: closed.remediation().map(|span| span.as_secs_f64()),
        };
        Self {
            time: time::rfc3339(now),
            event: word,
            proxy: &drift.proxy,
            upstream: &drift.upstream,
            name: drift.name.as_deref(),
            rule: drift.rule,
            detail: &drift.violation.detail,
            place: drift.violation.place.as_ref().map(ToString::to_string),
            since: text(drift.since),
            detected_at: text(drift.detected_at),
            changed_at: drift.changed_at.map(text),
            detection_seconds: drift.detection().map(|span| span.as_secs_f64()),
            preexisting: drift.preexisting,
            server: drift.server,
            connections: drift.connections,
            end: end.map(ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_posture::policy::drift::Violation;

    #[test]
    fn events_say_what_when_and_where() {
        let at = UnixTime::from_secs;
        let drift = OpenDrift {
            proxy: "nginx".into(),
            upstream: "10.0.0.1:443".into(),
            name: Some("payments".into()),
            rule: Rule::Plaintext,
            violation: Violation { detail: "in the clear".into(), place: None, certificate: None },
            since: at(100),
            detected_at: at(101),
            changed_at: Some(at(98)),
            last_offending: at(130),
            connections: 7,
            server: "10.0.0.3:80".parse().expect("literal"),
            preexisting: false,
        };
        let line = |event| serde_json::to_value(DriftLine::new(&event, 160.0)).expect("JSON");
        let opened = line(DriftEvent::Opened(drift.clone()));
        assert_eq!(opened["event"], "drift_opened");
        assert_eq!(opened["name"], "payments");
        assert_eq!(opened["since"], "1970-01-01T00:01:40.000Z");
        assert_eq!(opened["detection_seconds"], 3.0, "from the load of the configuration");
        assert!(opened.get("end").is_none(), "{opened}");
        let closed = ClosedDrift { drift, at: at(151), end: End::Remediated };
        let closed = line(DriftEvent::Closed(closed));
        assert_eq!(closed["event"], "drift_closed");
        assert_eq!(closed["end"], "remediated");
        assert_eq!(
            (&closed["open_seconds"], &closed["remediation_seconds"]),
            (&51.0.into(), &50.0.into())
        );
    }
}
