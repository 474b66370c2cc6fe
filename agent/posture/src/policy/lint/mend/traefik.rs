//! What mends a violation of a Traefik.

use super::{lacks_name, versions};
use crate::policy::{
    drift::Rule,
    intent::{Route, RouteKind},
    rules::Policy,
};

/// Of whom a route is: they are set in different ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Http,
    Tcp,
    ForwardAuth,
}

fn of(route: &Route) -> Of {
    match (route.directive.as_str(), route.kind) {
        ("forwardAuth", _) => Of::ForwardAuth,
        (_, RouteKind::Stream) => Of::Tcp,
        _ => Of::Http,
    }
}

/// Settings of a transport, in YAML, which services name as `serversTransport: TRANSPORT`, or those of a
/// middleware.
pub(super) fn pieces(rule: Rule, route: &Route, policy: &Policy) -> Option<Vec<String>> {
    let of = of(route);
    let authorities = || {
        let is_named = route.tls.trusted_certificate.is_some();
        let ca = match of {
            Of::ForwardAuth => "ca: /etc/traefik/upstream-ca.pem",
            Of::Http | Of::Tcp => "rootCAs: [/etc/traefik/upstream-ca.pem]",
        };
        let name = lacks_name(route).then(|| match of {
            // It knows none but that of the address.
            Of::ForwardAuth => "# and in the address, a name that is in the certificate".to_owned(),
            Of::Http | Of::Tcp => "serverName: NAME".to_owned(),
        });
        (!is_named).then(|| ca.to_owned()).into_iter().chain(name)
    };
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    Some(match (rule, of) {
        // Which it checks unless told otherwise.
        (Rule::Plaintext, _) => {
            let by_tls = match of {
                Of::Http => "# and in the url: https://",
                Of::Tcp => "# and in the line of its server: tls: true",
                Of::ForwardAuth => "# and in the address: https://",
            };
            authorities().chain([by_tls.to_owned()]).collect()
        }
        (Rule::ClientCertificateMissing, Of::ForwardAuth) => {
            lines(&["cert: /etc/traefik/client.pem", "key: /etc/traefik/client.key"])
        }
        (Rule::ClientCertificateMissing, _) => lines(&[
            "certificates:",
            "  - { certFile: /etc/traefik/client.pem, keyFile: /etc/traefik/client.key }",
        ]),
        (Rule::UpstreamNotVerified, _) => {
            ["insecureSkipVerify: false".to_owned()].into_iter().chain(authorities()).collect()
        }
        // The lowest alone it does not take, and elsewhere it takes neither.
        (Rule::VersionBelowMinimum, Of::Http) => {
            let lowest = if versions(policy.min_version?).len() == 1 { "13" } else { "12" };
            vec![format!("minVersion: VersionTLS{lowest}"), "maxVersion: VersionTLS13".to_owned()]
        }
        (Rule::ThirdPartyCertificate, Of::ForwardAuth) => lines(&["# without: cert, key"]),
        (Rule::ThirdPartyCertificate, _) => lines(&["certificates: []"]),
        _ => return None,
    })
}

/// Puts them where they stand.
pub(super) fn frame(pieces: &[String], route: &Route) -> Vec<String> {
    let head: &[&str] = match of(route) {
        Of::Http => &["http:", "serversTransports:", "TRANSPORT:"],
        Of::Tcp => &["tcp:", "serversTransports:", "TRANSPORT:", "tls:"],
        Of::ForwardAuth => &["http:", "middlewares:", "NAME:", "forwardAuth:", "tls:"],
    };
    let indented = |(depth, line): (usize, &str)| format!("{}{line}", "  ".repeat(depth));
    let settings = pieces.iter().map(|line| (head.len(), line.as_str()));
    head.iter().copied().enumerate().chain(settings).map(indented).collect()
}
