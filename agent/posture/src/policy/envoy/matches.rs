//! Which transport socket of several an endpoint is spoken to by.

use super::api::{Criteria, Metadata, SocketMatch};

/// What metadata says for that choice.
pub(super) fn said(metadata: Option<&Metadata>) -> Option<&Criteria> {
    metadata.map(|one| &one.filter_metadata.transport_socket_match)
}

/// The position of the one that is chosen; behind the last one is the default. It is the first that fits
/// what the endpoint says, or else the first that fits what its locality does.
pub(super) fn chosen(
    matches: &[SocketMatch],
    endpoint: Option<&Criteria>,
    locality: Option<&Criteria>,
) -> usize {
    let first = |says: Option<&Criteria>| {
        let has = |key, wanted| says.and_then(|says| says.get(key)) == Some(wanted);
        matches.iter().position(|one| one.criteria.iter().all(|(key, wanted)| has(key, wanted)))
    };
    first(endpoint).or_else(|| first(locality)).unwrap_or(matches.len())
}
