//! How a source of names is.

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// There is nothing to ask it yet, for this reason.
    Idle(&'static str),
    /// Asked and not answered yet.
    Starting,
    /// Works; what it does.
    Ready(String),
    /// Does not, or not fully; why.
    Degraded(String),
}
