//! One made-up agent: connections are made up, what becomes of them is the agent's own code.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use hopsight_core::{
    model::{ClientAuth, Outcome, Security, ServerVerified},
    report::ConnectionReport,
};
use hopsight_export::{
    Exporter,
    metrics::drift::{DriftBoard, DriftView},
};
use hopsight_posture::{
    hops::{ends::Ends, evaluation::Evaluation, table::HopLimits},
    policy::{
        drift::{DriftTracker, Options, Snapshot, assess},
        observation::Observation,
        rules::PolicySet,
        time::UnixTime,
    },
};
use hopsight_tools::made_up::connection;

/// What the fleet's policy says: the hops of every agent may be what they are, and the workload that
/// may be wrong has to use TLS.
const POLICY: &str = r#"
[[policies]]
name = "as it is"
match.cidr = "10.42.0.0/16"
require = "plaintext-allowed"

[[policies]]
name = "shop"
match.namespace = "shop"
require = "tls"
"#;

/// The workload whose Deployment may be wrong, and its upstream.
const NAMESPACE: &str = "shop";
const WORKLOAD: &str = "shop/checkout";
const UPSTREAM: &str = "shop/billing:8443";

/// An agent without kernel.
pub struct Agent {
    pub exporter: Exporter,
    policies: PolicySet,
    drift: Mutex<DriftTracker>,
    board: Arc<DriftBoard>,
    /// Whether the Deployment on its node is the wrong one.
    is_bad: bool,
}

impl Agent {
    pub fn new(is_bad: bool) -> anyhow::Result<Self> {
        let exporter = Exporter::new(HopLimits::default());
        let board = Arc::new(DriftBoard::default());
        exporter.register(board.clone());
        let now = UnixTime::from(SystemTime::now());
        let drift = Mutex::new(DriftTracker::new(Options::default(), Snapshot::default(), now));
        Ok(Self { exporter, policies: PolicySet::parse(POLICY)?, drift, board, is_bad })
    }

    /// Connection `number` of its hop number `hop`: of these nothing is to be told.
    pub fn connect(&self, hop: u64, number: u64) {
        let mut report = connection(hop, number);
        if report.verdict.outcome == Outcome::Rejected {
            report.verdict.outcome = Outcome::Established;
            report.alert = None;
        }
        if report.verdict.client_auth == ClientAuth::RequestedNotPresented {
            report.verdict.client_auth = ClientAuth::NotRequested;
        }
        if let Some(certificate) = &mut report.client_certificate {
            let facts = Arc::make_mut(certificate);
            // A year of which most is left.
            facts.not_after = facts.not_before + 365 * 86_400;
        }
        self.record(&Ends::of(&report), None, &report);
    }

    /// Connection `number` of the workload that may be wrong.
    pub fn connect_workload(&self, number: u64) {
        // A mutual hop, and the same in the clear.
        let mut report = connection(0, number);
        if self.is_bad {
            report.verdict.security = Security::Plaintext;
            report.verdict.client_auth = ClientAuth::NotRequested;
            report.verdict.server_verified = ServerVerified::Unknown;
            (report.client_certificate, report.server_certificate) = (None, None);
            (report.tls_version, report.cipher, report.resumed) = (None, None, None);
        }
        report.destination = SocketAddr::from(([10, 43, 0, 9], 8443));
        let (proxy, upstream) = (WORKLOAD.into(), UPSTREAM.into());
        self.record(&Ends { proxy, upstream, pod: None }, Some(NAMESPACE), &report);
    }

    fn record(&self, ends: &Ends, namespace: Option<&str>, report: &ConnectionReport) {
        let now = UnixTime::from(SystemTime::now());
        let seen = Observation::of(report, &ends.proxy, namespace, &ends.upstream, now);
        let assessment = assess(self.policies.find(&seen.subject()), &[], &seen, now);
        let mut drift = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        if !drift.observe(&seen, &assessment, now).is_empty() {
            let open = drift.open().cloned().collect();
            self.board.show(DriftView { open, ..DriftView::default() });
        }
        let clock = hopsight_system::clock::now();
        self.exporter.record_between(ends, report, Evaluation::default(), clock);
    }
}
