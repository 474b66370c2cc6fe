//! What the routes to an upstream expect of the chain that it presents.

use std::sync::Arc;

use super::{ChainFinding, ChainWord, Trust, Trusts};
use crate::policy::intent::{Route, Scheme, Text, UpstreamIntent};

/// Where a chain leads by all routes that a connection may have taken, one of which asked for the server
/// name `sni`. `verify` follows it to CAs, for one of these names. It leads to what is trusted if it
/// does by all of them, and does not if it does by none.
pub fn by_all_routes(
    intents: &[&UpstreamIntent],
    trusts: &Trusts,
    sni: Option<&str>,
    mut verify: impl FnMut(&Arc<Trust>, &[String]) -> Arc<ChainFinding>,
) -> Arc<ChainFinding> {
    let routes = intents.iter().flat_map(|intent| intent.routes.iter().chain(&*intent.by_variable));
    let mut all = Vec::new();
    for route in routes.filter(|route| route.scheme != Scheme::Plaintext) {
        let file = route.tls.trusted_certificate.as_ref();
        let expected = (file.and_then(|file| trusts.get(&file.value)), names(route, sni));
        if !all.contains(&expected) {
            all.push(expected);
        }
    }
    let mut found = all.into_iter().map(|(trust, names)| match (trust, names) {
        (None, _) => {
            Arc::new(ChainFinding::unknown("the configuration names no CA file that can be read"))
        }
        (Some(trust), Some(names)) => verify(trust, &names),
        (Some(trust), None) => {
            let found = verify(trust, &[]);
            match found.answer {
                ChainWord::Trusted => Arc::new(ChainFinding::unknown(
                    "the request decides for which name it has to be",
                )),
                _ => found,
            }
        }
    });
    let Some(first) = found.next() else {
        return Arc::new(ChainFinding::unknown("no configuration is known"));
    };
    let alike = |other: &ChainFinding| {
        first.answer == other.answer || first.is_broken() && other.is_broken()
    };
    if found.all(|other| alike(&other)) {
        first
    } else {
        Arc::new(ChainFinding::unknown("it depends on the route"))
    }
}

/// The names of which the certificate has to have one, none if any will do; `None` where the request
/// decides.
fn names(route: &Route, sni: Option<&str>) -> Option<Vec<String>> {
    let Some(expected) = route.expected_name() else { return Some(Vec::new()) };
    let first = match (expected, sni) {
        (Text::Literal(name), _) => name.clone(),
        // It is the name that was sent.
        (Text::Variable(_), Some(sni)) if route.sent_name() == Some(expected) => sni.to_owned(),
        (Text::Variable(_), _) => return None,
    };
    let others = route.tls.other_names.iter().map(|name| name.value.literal().map(str::to_owned));
    std::iter::once(Some(first)).chain(others).collect()
}
