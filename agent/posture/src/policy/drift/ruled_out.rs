//! What a configuration leaves no way to violate.

use super::Rule;
use crate::policy::{
    intent::{Route, Setting, UpstreamIntent},
    rules::{Policy, parse_version},
};

/// The rules of `policy` that no connection can violate which goes by one of these upstreams. How a
/// server is treated is not among them: the table of hops knows what of that is in use. Nor is what
/// the server decides, for that no configuration of the proxy says.
pub(super) fn of(policy: &Policy, intents: &[&UpstreamIntent]) -> Vec<Rule> {
    let all = intents.iter().flat_map(|intent| intent.routes.iter().chain(&*intent.by_variable));
    let mut routes = all.peekable();
    let Some(minimum) = policy.min_version.filter(|_| routes.peek().is_some()) else {
        return Vec::new();
    };
    let allows_less = |route: &Route| match &route.tls.protocols {
        // OpenSSL's own commands may change them.
        Some(Setting { value, .. }) if route.tls.conf_commands.is_empty() => {
            value.iter().any(|word| parse_version(word).is_none_or(|one| one < minimum))
        }
        _ => true,
    };
    if routes.any(allows_less) { Vec::new() } else { vec![Rule::VersionBelowMinimum] }
}
