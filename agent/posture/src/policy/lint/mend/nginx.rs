//! What mends a violation of an nginx.

use super::{authorities, lacks_name, versions};
use crate::policy::{
    drift::Rule,
    intent::{Route, RouteKind, Setting, Target, Text, TlsIntent, UpstreamIntent},
    rules::{Policy, parse_version},
};

/// Directives, as they stand beside what passes requests on.
pub(super) fn pieces(
    rule: Rule,
    upstream: &UpstreamIntent,
    route: &Route,
    policy: &Policy,
) -> Option<Vec<String>> {
    // The module's directives begin as its pass directive does.
    let (module, scheme) = match route.directive.as_str() {
        "proxy_pass" => ("proxy", "https"),
        "grpc_pass" => ("grpc", "grpcs"),
        "uwsgi_pass" => ("uwsgi", "suwsgi"),
        pass => {
            let what = pass.trim_end_matches("_pass");
            return Some(vec![format!(
                "# {what} knows no TLS: let a proxy at the upstream end it, and use proxy_pass https://"
            )]);
        }
    };
    Some(match rule {
        Rule::Plaintext if route.kind == RouteKind::Stream => vec!["proxy_ssl on;".to_owned()],
        Rule::Plaintext => {
            let target = match &upstream.target {
                _ if route.kind == RouteKind::ByVariable => None,
                Target::Variable(expression) => match expression.split_once("://") {
                    Some((_, after)) => Some(after.to_owned()),
                    None if expression.starts_with('$') => None,
                    None => Some(expression.clone()),
                },
                target => Some(format!("{target}{}", route.uri)),
            };
            vec![match target.map(|target| format!("{scheme}://{target}")) {
                Some(url) if url.contains([' ', '\t', ';', '{', '}', '"', '\'']) => {
                    format!("{module}_pass {};", quoted(&url))
                }
                Some(url) => format!("{module}_pass {url};"),
                None => format!(
                    "# in {module}_pass, or in the value of its variable that leads to {}: {scheme}://",
                    upstream.target
                ),
            }]
        }
        Rule::ClientCertificateMissing => vec![
            format!("{module}_ssl_certificate /etc/nginx/client.pem;"),
            format!("{module}_ssl_certificate_key /etc/nginx/client.key;"),
        ],
        Rule::UpstreamNotVerified => {
            let ca = authorities(route, "/etc/nginx/upstream-ca.pem");
            let mut lines = vec![
                format!("{module}_ssl_verify on;"),
                format!("{module}_ssl_trusted_certificate {};", quoted(ca)),
            ];
            if lacks_name(route) {
                lines.push(format!("{module}_ssl_name NAME;"));
            }
            lines
        }
        Rule::VersionBelowMinimum => {
            let least = policy.min_version?;
            let spoken = format!("{module}_ssl_protocols {};", versions(least).join(" "));
            // What a command of OpenSSL's allows counts for more.
            let stronger = route.tls.conf_commands.iter().filter(|command| {
                let (name, value) = &command.value;
                name.eq_ignore_ascii_case("Protocol")
                    || name.eq_ignore_ascii_case("MaxProtocol")
                        && parse_version(value).is_some_and(|version| version < least)
            });
            let without = stronger.map(|command| {
                let (name, value) = &command.value;
                format!("# without: {module}_ssl_conf_command {name} {};", quoted(value))
            });
            [spoken].into_iter().chain(without).collect()
        }
        Rule::ThirdPartyCertificate => {
            let TlsIntent { certificate, certificate_key, .. } = &route.tls;
            let without = |what: &str, setting: &Option<Setting<Text>>| {
                let value = &setting.as_ref()?.value;
                Some(format!("# without: {module}_ssl_{what} {};", quoted(&value.to_string())))
            };
            let both =
                [without("certificate", certificate), without("certificate_key", certificate_key)];
            // 1.22 takes the empty name for a file.
            let inherited = format!(
                "# where others need what is inherited: {module}_ssl_certificate \"\"; (nginx 1.22 refuses it)"
            );
            both.into_iter().flatten().chain([inherited]).collect()
        }
        _ => return None,
    })
}

/// A word of nginx's, in quotes where it needs them.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("{word:?}") }
}

/// Puts them where nginx takes them.
pub(super) fn frame(pieces: Vec<String>, route: &Route) -> Vec<String> {
    if route.kind != RouteKind::Conditional {
        return pieces;
    }
    let (pass, settings): (Vec<_>, Vec<_>) =
        pieces.into_iter().partition(|piece| !piece.contains("_ssl_"));
    let at = "# in the location around it (\"if\" and \"limit_except\" take none of these):";
    let at = (!settings.is_empty()).then(|| at.to_owned());
    pass.into_iter().chain(at).chain(settings).collect()
}
