//! Whether the agent is alive and which of its parts work.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::metrics::{catalogue::COMPONENT_STATE, samples::Samples};
use hopsight_core::health::{Component, ComponentState, Readiness};

/// A pipeline that has not ticked for this long hangs, and a restart is the better choice.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The state of every component, and the pipeline's heartbeat.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// Milliseconds after `started` of the last beat; 0 before the first.
    last_beat: AtomicU64,
    components: Mutex<BTreeMap<&'static str, Component>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), last_beat: AtomicU64::new(0), components: Mutex::default() }
    }
}

impl Health {
    /// Sets a component's state. Names are fixed words of the agent, such as `kernel_programs`.
    pub fn set(&self, component: &'static str, state: ComponentState, detail: impl Into<String>) {
        let component_state = Component { state, detail: detail.into() };
        self.components().insert(component, component_state);
    }

    /// The pipeline is alive.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_beat.store(elapsed.max(1), Ordering::Relaxed);
    }

    /// How long the pipeline has been silent beyond [`STALLED_AFTER`]; `None` while it is alive
    /// or has not begun.
    #[must_use]
    pub fn stalled_for(&self) -> Option<Duration> {
        let last = match self.last_beat.load(Ordering::Relaxed) {
            0 => return None,
            millis => Duration::from_millis(millis),
        };
        let silent = self.started.elapsed().saturating_sub(last);
        (silent > STALLED_AFTER).then_some(silent)
    }

    /// The state of every component. An agent without components is not ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let components = self.components().clone();
        let works =
            |c: &Component| matches!(c.state, ComponentState::Ready | ComponentState::Degraded);
        Readiness {
            ready: !components.is_empty() && components.values().all(works),
            components: components.into_iter().map(|(name, c)| (name.to_owned(), c)).collect(),
        }
    }

    /// Adds the state of every component.
    pub fn collect(&self, samples: &mut Samples) {
        for (name, component) in &*self.components() {
            for word in ComponentState::ALL {
                let is_current = u64::from(*word == component.state);
                samples.count(COMPONENT_STATE, [name, word.as_str()], is_current);
            }
        }
    }

    fn components(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_component_works() {
        use ComponentState::{Degraded, Failed, Ready, Starting};
        for (name, states, want) in [
            ("nothing known", vec![], false),
            ("starting", vec![Ready, Starting], false),
            ("all ready", vec![Ready, Ready], true),
            ("degraded still works", vec![Ready, Degraded], true),
            ("one failed", vec![Ready, Failed], false),
        ] {
            let health = Health::default();
            for (component, state) in ["kernel_programs", "library_probes"].into_iter().zip(states)
            {
                health.set(component, state, "");
            }
            assert_eq!(health.readiness().ready, want, "{name}");
        }
    }

    #[test]
    fn not_stalled_before_and_right_after_a_beat() {
        let health = Health::default();
        assert_eq!(health.stalled_for(), None);
        health.beat();
        assert_eq!(health.stalled_for(), None);
    }
}
