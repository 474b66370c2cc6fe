//! What controllers say of an object of the Gateway API, in its status. Pure.

use super::services::ObjectName;

/// The conditions that say whether an object is in force.
pub const CONDITIONS: [&str; 3] = ["Accepted", "Programmed", "ResolvedRefs"];

/// What one controller says of an object, for one Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The Gateway.
    pub gateway: ObjectName,
    /// Of [`CONDITIONS`] those that are known, and whether they are true.
    pub conditions: Vec<(&'static str, bool)>,
}

impl Standing {
    fn says(&self, wanted: &str) -> Option<bool> {
        let mut conditions = self.conditions.iter();
        conditions.find(|(kind, _)| *kind == wanted).map(|(_, is_true)| *is_true)
    }

    /// Whether the controller says that it is in force, with all that it refers to.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let is_accepted =
            self.says("Accepted") == Some(true) || self.says("Programmed") == Some(true);
        is_accepted && self.conditions.iter().all(|(_, is_true)| *is_true)
    }

    /// Whether the controller refused it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.says("Accepted") == Some(false)
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let word = |is_true| if is_true { "True" } else { "False" };
        let said = self.conditions.iter().map(|(kind, is)| format!("{kind} is {}", word(*is)));
        let (namespace, name) = &self.gateway;
        format!("{} for Gateway {namespace}/{name}", said.collect::<Vec<_>>().join(", "))
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
