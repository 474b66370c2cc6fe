//! What the probes are on, for other threads.

use std::sync::{Arc, PoisonError, RwLock};

use hopsight_abi::Stack;

use super::status::LibraryStatus;

/// Reads what the library probes are on and what they show, from any thread.
#[derive(Clone, Debug, Default)]
pub struct LibraryStatuses(Arc<RwLock<Published>>);

#[derive(Debug, Default)]
struct Published {
    /// By process id.
    statuses: Vec<LibraryStatus>,
    /// Places with a probe, in the order of [`Stack::ALL`].
    attached: [u64; Stack::ALL.len()],
}

impl LibraryStatuses {
    /// This is so from now on: of each process, and of each place with a probe.
    pub(super) fn publish(
        &self,
        statuses: impl Iterator<Item = LibraryStatus>,
        places: impl Iterator<Item = Stack>,
    ) {
        let mut statuses: Vec<_> = statuses.collect();
        statuses.sort_unstable_by_key(|status| status.pid);
        let mut attached = [0; Stack::ALL.len()];
        places.for_each(|stack| attached[stack as usize] += 1);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Published { statuses, attached };
    }

    /// The [`LibraryStatus`] of every watched process as of now, by process id.
    #[must_use]
    pub fn read(&self) -> Vec<LibraryStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).statuses.clone()
    }

    /// At how many places of files probes are attached now, by the word of the stack.
    #[must_use]
    pub fn attached(&self) -> [(&'static str, u64); Stack::ALL.len()] {
        let attached = self.0.read().unwrap_or_else(PoisonError::into_inner).attached;
        std::array::from_fn(|at| (Stack::ALL[at].as_str(), attached[at]))
    }
}
