//! Whether the agent is alive and which of its parts work.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::metrics::{catalogue::COMPONENT_STATE, samples::Samples};
use hopsight_core::health::{Component, ComponentState, Readiness};
use hopsight_system::heart::Heart;

/// A thread of [`Stake::Observation`] that has not moved for this long hangs, and a restart is the
/// better choice.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// From here on `/readyz` says that a thread does not move.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// Component name of the threads in `/readyz`.
const THREADS: &str = "threads";

/// What the agent loses with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// Nothing is observed any more without it.
    Observation,
    /// A part of what could be known: a name, a configuration, a library.
    Detail,
}

/// A thread whose heart is listened to.
#[derive(Debug)]
struct Thread {
    name: &'static str,
    stake: Stake,
    heart: Heart,
}

/// The state of every component, and the threads' hearts.
#[derive(Debug, Default)]
pub struct Health {
    threads: Mutex<Vec<Thread>>,
    components: Mutex<BTreeMap<&'static str, Component>>,
}

impl Health {
    /// Sets a component's state. Names are fixed words of the agent, such as `kernel_programs`.
    pub fn set(&self, component: &'static str, state: ComponentState, detail: impl Into<String>) {
        let component_state = Component { state, detail: detail.into() };
        self.components().insert(component, component_state);
    }

    /// Listens to the heart of a thread from now on. Several threads may share a name.
    pub fn listen(&self, name: &'static str, stake: Stake, heart: Heart) {
        self.threads().push(Thread { name, stake, heart });
    }

    /// The thread without which nothing is observed that has been silent beyond [`STALLED_AFTER`],
    /// and for how long; of several the one that has been for longest.
    #[must_use]
    pub fn stalled(&self) -> Option<(&'static str, Duration)> {
        let threads = self.threads();
        let vital = threads.iter().filter(|thread| thread.stake == Stake::Observation);
        let silent = vital.map(|thread| (thread.name, thread.heart.silent_for()));
        silent.filter(|(_, silent)| *silent > STALLED_AFTER).max_by_key(|(_, silent)| *silent)
    }

    /// How the threads are; `None` where there are none.
    fn threads_component(&self) -> Option<Component> {
        let threads = self.threads();
        let is_silent = |thread: &&Thread| thread.heart.silent_for() > SLOW_AFTER;
        let silent: Vec<_> = threads.iter().filter(is_silent).collect();
        let state = if silent.iter().any(|thread| thread.stake == Stake::Observation) {
            ComponentState::Failed
        } else if silent.is_empty() {
            ComponentState::Ready
        } else {
            ComponentState::Degraded
        };
        let says = |thread: &Thread| {
            format!("{} silent for {} s", thread.name, thread.heart.silent_for().as_secs())
        };
        let detail = match state {
            ComponentState::Ready => format!("{} move", threads.len()),
            _ => silent.into_iter().map(says).collect::<Vec<_>>().join(", "),
        };
        (!threads.is_empty()).then_some(Component { state, detail })
    }

    /// The state of every component. An agent without components is not ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let components = self.all();
        let works =
            |c: &Component| matches!(c.state, ComponentState::Ready | ComponentState::Degraded);
        Readiness {
            ready: !components.is_empty() && components.values().all(works),
            components: components.into_iter().map(|(name, c)| (name.to_owned(), c)).collect(),
        }
    }

    /// Adds the state of every component.
    pub fn collect(&self, samples: &mut Samples) {
        for (name, component) in &self.all() {
            for word in ComponentState::ALL {
                let is_current = u64::from(*word == component.state);
                samples.count(COMPONENT_STATE, [name, word.as_str()], is_current);
            }
        }
    }

    fn all(&self) -> BTreeMap<&'static str, Component> {
        let mut components = self.components().clone();
        components.extend(self.threads_component().map(|threads| (THREADS, threads)));
        components
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::model::Timestamp;
    use hopsight_system::clock::monotonic_now;

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
    fn a_thread_that_does_not_move_is_told() {
        let silent = |for_: Duration| {
            let heart = Heart::default();
            heart.beat_at(Timestamp(monotonic_now().0 - nanoseconds(for_)));
            heart
        };
        let rests = Heart::default();
        let (moves, slow, hangs) = (
            silent(Duration::ZERO),
            silent(SLOW_AFTER + Duration::from_secs(1)),
            silent(STALLED_AFTER + Duration::from_secs(1)),
        );
        for (name, heart, stake, state, stalled) in [
            ("rests", &rests, Stake::Observation, ComponentState::Ready, false),
            ("moves", &moves, Stake::Observation, ComponentState::Ready, false),
            ("slow", &slow, Stake::Observation, ComponentState::Failed, false),
            ("hangs", &hangs, Stake::Observation, ComponentState::Failed, true),
            ("a detail hangs", &hangs, Stake::Detail, ComponentState::Degraded, false),
        ] {
            let health = Health::default();
            health.set("kernel_programs", ComponentState::Ready, "");
            health.listen("other", Stake::Observation, moves.clone());
            health.listen("pipeline", stake, heart.clone());
            let readiness = health.readiness();
            assert_eq!(readiness.components[THREADS].state, state, "{name}");
            assert_eq!(readiness.ready, state != ComponentState::Failed, "{name}");
            assert_eq!(
                health.stalled().map(|(thread, _)| thread),
                stalled.then_some("pipeline"),
                "{name}"
            );
        }
    }

    fn nanoseconds(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).expect("short")
    }
}
