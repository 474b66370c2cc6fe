//! Who the two ends of a connection are: the labels it is counted under.

use std::sync::Arc;

use hopsight_core::report::ConnectionReport;

use super::labels;

/// The two ends of a connection, as `proxy` and `upstream` label.
///
/// A label has to be settled before the first connection is counted under it: a counter that moves
/// from one series to another is a counter that goes backwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// `namespace/workload` of a pod that is known by name, else the process name.
    pub proxy: Arc<str>,
    /// The upstream's name in the proxy's configuration, else that of the Kubernetes service that
    /// was connected to, else `ip:port`. Not the server name of the handshake: what a client can
    /// make the proxy send would be a label of the client's choice.
    pub upstream: Arc<str>,
    /// `namespace/pod` of the proxy, where that is known; no label, because pods come and go.
    pub pod: Option<Arc<str>>,
}

impl Ends {
    /// The ends as the connection alone shows them.
    #[must_use]
    pub fn of(report: &ConnectionReport) -> Self {
        Self { proxy: labels::proxy(&report.origin), upstream: labels::upstream(report), pod: None }
    }
}
