//! What controllers say of an object, in its status. Pure.

use super::services::ObjectName;

/// The conditions that say whether an object of the Gateway API is in force.
pub const OF_GATEWAY_API: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];

/// The conditions that Istio writes into the status of its objects, where it is told to: that all
/// proxies have it (`PILOT_ENABLE_CONFIG_DISTRIBUTION_TRACKING`), and that nothing is wrong with it
/// (`PILOT_ENABLE_ANALYSIS`).
pub const OF_ISTIO: &[&str] = &["Reconciled", "PassedAnalysis"];

/// Conditions of a status: those that are known, and whether they are true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(pub Vec<(&'static str, bool)>);

impl Conditions {
    fn says(&self, wanted: &str) -> Option<bool> {
        let mut conditions = self.0.iter();
        conditions.find(|(kind, _)| *kind == wanted).map(|(_, is_true)| *is_true)
    }

    /// Whether there are any, and all are true.
    #[must_use]
    pub fn are_good(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, is_true)| *is_true)
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let word = |is_true| if is_true { "True" } else { "False" };
        let said = self.0.iter().map(|(kind, is)| format!("{kind} is {}", word(*is)));
        said.collect::<Vec<_>>().join(", ")
    }
}

/// What one controller says of an object, for one Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The Gateway.
    pub gateway: ObjectName,
    /// What it says.
    pub conditions: Conditions,
}

impl Standing {
    /// Whether the controller says that it is in force, with all that it refers to.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let says = |wanted| self.conditions.says(wanted) == Some(true);
        (says("Accepted") || says("Programmed")) && self.conditions.are_good()
    }

    /// Whether the controller refused it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.conditions.says("Accepted") == Some(false)
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let (namespace, name) = &self.gateway;
        format!("{} for Gateway {namespace}/{name}", self.conditions.words())
    }
}

/// The standing of an object for one Gateway that says it is in force there; the first of several.
#[must_use]
pub fn in_force<'a>(standings: &'a [Standing], gateway: &ObjectName) -> Option<&'a Standing> {
    standings.iter().find(|one| one.gateway == *gateway && one.is_in_force())
}

/// Whether a controller said anything of an object for this Gateway.
#[must_use]
pub fn is_told(standings: &[Standing], gateway: &ObjectName) -> bool {
    standings.iter().any(|one| one.gateway == *gateway)
}

/// Whether every controller that looked at it for this Gateway refused it.
#[must_use]
pub fn is_refused(standings: &[Standing], gateway: &ObjectName) -> bool {
    let mut ours = standings.iter().filter(|one| one.gateway == *gateway).peekable();
    ours.peek().is_some() && ours.all(Standing::is_refused)
}
