//! The state of a source of names.

/// The state of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameSourceState {
    /// There is nothing to ask it yet, for this reason.
    Idle(&'static str),
    /// Asked and not answered yet.
    Starting,
    /// It works; what it does.
    Ready(String),
    /// It does not, or not fully; why.
    Degraded(String),
}
