//! Of how much it is known how it was protected.

use std::collections::BTreeMap;

use hopsight_core::model::{Outcome, Reason, Security};
use serde::{Deserialize, Serialize};

use crate::hops::counts::Tally;

/// Connections by whether it is known how they were protected. Those that the upstream refused, or
/// that failed, carried nothing; those that the proxy gave up before they told anything neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Established, and it is known how they were protected.
    pub known: u64,
    /// It is not known.
    pub unknown: u64,
}

impl Coverage {
    /// Of connections with these verdicts, and these reasons where security is unknown.
    #[must_use]
    pub fn of(connections: &[Tally], unknown_reasons: &BTreeMap<Reason, u64>) -> Self {
        let count = |wanted: &dyn Fn(&Tally) -> bool| -> u64 {
            connections.iter().filter(|tally| wanted(tally)).map(|tally| tally.connections).sum()
        };
        let known = count(&|tally| is_known(tally));
        let carried_something =
            |tally: &Tally| !matches!(tally.outcome, Outcome::Rejected | Outcome::Failed);
        let unknown =
            count(&|tally| tally.security == Security::Unknown && carried_something(tally));
        let given_up = unknown_reasons.get(&Reason::Abandoned).copied().unwrap_or_default();
        Self { known, unknown: unknown.saturating_sub(given_up) }
    }

    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.known + self.unknown
    }

    /// The share of which it is known, from 0 to 1; `None` where there was none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^53")]
    pub fn share(self) -> Option<f64> {
        (self.total() > 0).then(|| self.known as f64 / self.total() as f64)
    }

    /// The sum of all.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            known: sum.known + one.known,
            unknown: sum.unknown + one.unknown,
        })
    }
}

/// Whether it is known how connections were protected that carried something.
pub(super) fn is_known(tally: &Tally) -> bool {
    tally.security != Security::Unknown && tally.outcome == Outcome::Established
}

#[cfg(test)]
mod tests {
    use hopsight_core::model::{ClientAuth, Evidence};

    use super::*;

    #[test]
    fn what_carried_nothing_is_neither_known_nor_unknown() {
        let tally = |security, outcome, connections| Tally {
            security,
            client_auth: ClientAuth::Unknown,
            evidence: Evidence::Wire,
            outcome,
            connections,
        };
        let all = [
            tally(Security::Mtls, Outcome::Established, 90),
            tally(Security::Mtls, Outcome::Rejected, 7),
            tally(Security::Tls, Outcome::Incomplete, 5),
            tally(Security::Unknown, Outcome::Incomplete, 8),
            tally(Security::Unknown, Outcome::Established, 5),
            tally(Security::Unknown, Outcome::Failed, 3),
        ];
        let reasons = BTreeMap::from([(Reason::Abandoned, 3), (Reason::MidStream, 5)]);
        let coverage = Coverage::of(&all, &reasons);
        assert_eq!(coverage, Coverage { known: 90, unknown: 10 });
        assert_eq!(coverage.share(), Some(0.9));
        assert_eq!(Coverage::default().share(), None, "nothing is no full coverage");
    }
}
