//! How the parts of the agent are, as `/readyz` shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::vocabulary;

vocabulary! {
    /// How a part of the agent is.
    ComponentState {
        /// Not yet up.
        Starting => "starting",
        /// Works.
        Ready => "ready",
        /// Works with less than it could have; the detail says what is missing.
        Degraded => "degraded",
        /// Does not work.
        Failed => "failed",
    }
}

/// A part of the agent, as `/readyz` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// How it is.
    pub state: ComponentState,
    /// What that means, for people.
    pub detail: String,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every component is ready or degraded.
    pub ready: bool,
    /// Every component by name.
    pub components: BTreeMap<String, Component>,
}
