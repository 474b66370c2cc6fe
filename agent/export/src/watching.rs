//! What the agent says of its own watching.

use std::{fmt, sync::OnceLock};

use crate::health::Health;
use hopsight_core::{health::ComponentState, tls::fingerprint::Fingerprint};
use hopsight_posture::hops::witness::{Losses, Watch};

/// What is known of it beside how the agent's parts are.
#[derive(Clone, Debug)]
pub struct Watched {
    /// When it began, seconds since the Unix epoch.
    pub since: f64,
    /// Digest of the kernel programs.
    pub kernel_programs: Fingerprint,
    /// Digest of the policy file in force.
    pub policy: Option<Fingerprint>,
    /// Events that the kernel delivered.
    pub events_received: u64,
    /// What was lost.
    pub lost: Losses,
}

/// Who is asked for it.
#[derive(Default)]
pub(crate) struct Watching(OnceLock<Box<dyn Fn() -> Watched + Send + Sync>>);

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

impl Watching {
    /// Asks `source` from now on. The first one counts: a second would contradict it.
    pub(crate) fn told_by(&self, source: impl Fn() -> Watched + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(source));
    }

    /// What is said now; `None` where nobody is asked, such as where captures are read.
    pub(crate) fn watch(&self, health: &Health) -> Option<Watch> {
        let Watched { since, kernel_programs, policy, events_received, lost } = self.0.get()?();
        let readiness = health.readiness();
        let impaired = readiness.components.iter();
        let impaired = impaired.filter(|(_, part)| part.state != ComponentState::Ready);
        Some(Watch {
            since,
            ready: readiness.ready,
            impaired: impaired.map(|(name, _)| name.as_str().into()).collect(),
            kernel_programs_sha256: kernel_programs,
            policy_sha256: policy,
            events_received,
            lost,
        })
    }
}
