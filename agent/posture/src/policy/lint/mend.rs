//! What mends a violation, in the language of the proxy's configuration. Paths that the configuration
//! does not name are examples, `NAME` stands for a name in the upstream's certificate, and `TRANSPORT` for
//! one of Traefik's.

mod nginx;
mod traefik;

use std::net::IpAddr;

use self::nginx::quoted;
use super::judge::{Answer, Judge, RULES};
use crate::policy::{
    drift::Rule,
    intent::{Route, Scheme, Setting, Text, UpstreamIntent},
    kind::ProxyKind,
    rules::{Policy, parse_version},
};
use hopsight_core::tls::hello::TlsVersion;

/// The snippet that mends a violation of `rule`; `None` where there is none to give.
pub(super) fn snippet(
    kind: ProxyKind,
    rule: Rule,
    upstream: &UpstreamIntent,
    route: &Route,
    policy: &Policy,
) -> Option<String> {
    let pieces = |rule| match kind {
        ProxyKind::Nginx => nginx::pieces(rule, upstream, route, policy),
        ProxyKind::Haproxy => haproxy(rule, route, policy),
        ProxyKind::Envoy => envoy(rule, policy),
        ProxyKind::Caddy => caddy(rule, route),
        ProxyKind::Apache => apache(rule, route, policy),
        ProxyKind::Traefik => traefik::pieces(rule, route, policy),
    };
    let mut all = pieces(rule)?;
    for next in following(kind, rule, upstream, route, policy) {
        for piece in pieces(next).unwrap_or_default() {
            if !all.contains(&piece) {
                all.push(piece);
            }
        }
    }
    // What is to be left out or done elsewhere is said, not written.
    let (said, written): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.starts_with('#'));
    let framed = if written.is_empty() { Vec::new() } else { frame(kind, written, route) };
    Some(framed.into_iter().chain(said).collect::<Vec<_>>().join("\n"))
}

/// What is to be mended along with `rule`: a route that begins to speak TLS has to be all that policy
/// asks of TLS, or one violation would take the place of another.
fn following(
    kind: ProxyKind,
    rule: Rule,
    upstream: &UpstreamIntent,
    route: &Route,
    policy: &Policy,
) -> Vec<Rule> {
    // A health check has the settings of its server.
    if rule != Rule::Plaintext || is_check(route) {
        return Vec::new();
    }
    let mut route = Route { scheme: Scheme::Tls, ..route.clone() };
    let at = route.at.clone();
    // Both do unless told otherwise.
    if matches!(kind, ProxyKind::Caddy | ProxyKind::Traefik) && route.tls.verify.is_none() {
        route.tls.verify = Some(Setting { value: true, at });
    }
    let mut found = Vec::new();
    for &next in RULES.iter().filter(|&&next| next != rule) {
        let answer = Judge { policy, route: &route, upstream }.answer(next);
        let is_to_mend = match answer {
            Answer::Met => false,
            Answer::Violated(..) => true,
            // It can be said; what else is unknown is chosen by something that has its reasons.
            Answer::Unknown(..) => next == Rule::VersionBelowMinimum,
        };
        if is_to_mend {
            found.push(next);
        }
        if is_to_mend && next == Rule::ClientCertificateMissing {
            let at = route.at.clone();
            route.tls.certificate = Some(Setting { value: Text::from("an example"), at });
        }
    }
    found
}

/// Whether a route is that of a health check of haproxy's, by its server line or by a rule.
fn is_check(route: &Route) -> bool {
    route.directive == "check" || route.directive.ends_with("-check connect")
}

/// The authorities that the route names, or an example.
fn authorities<'a>(route: &'a Route, example: &'a str) -> &'a str {
    let named = route.tls.trusted_certificate.as_ref().map(|ca| ca.value.as_str());
    named.filter(|name| !name.is_empty()).unwrap_or(example)
}

/// Whether the name that certificates are checked for is still to be said: there is none, or one that
/// no certificate has, such as that of a group of servers.
fn lacks_name(route: &Route) -> bool {
    match route.expected_name() {
        None => true,
        _ if route.tls.name.is_some() => false,
        Some(Text::Variable(_)) => false,
        Some(Text::Literal(name)) => !name.contains('.') || name.parse::<IpAddr>().is_ok(),
    }
}

/// The versions from `minimum` on, as OpenSSL's users spell them.
fn versions(minimum: TlsVersion) -> Vec<&'static str> {
    let known = [(0x0301, "TLSv1"), (0x0302, "TLSv1.1"), (0x0303, "TLSv1.2"), (0x0304, "TLSv1.3")];
    known.into_iter().filter(|(code, _)| *code >= minimum.0).map(|(_, name)| name).collect()
}

/// Whether every version that the route allows is below the lowest one that is required.
fn allows_only_below(route: &Route, minimum: TlsVersion) -> bool {
    route.tls.protocols.as_ref().is_some_and(|said| {
        let mut versions = said.value.iter().filter_map(|text| parse_version(text));
        versions.all(|version| version < minimum)
    })
}

/// What is written, as it stands in the configuration.
fn frame(kind: ProxyKind, pieces: Vec<String>, route: &Route) -> Vec<String> {
    match kind {
        ProxyKind::Apache => pieces,
        ProxyKind::Nginx => nginx::frame(pieces, route),
        ProxyKind::Haproxy => {
            let address: Vec<_> = route.only.iter().map(ToString::to_string).collect();
            let address = address.join(" ");
            let at = match route.directive.as_str() {
                "dispatch" | "option transparent" => format!(
                    "# a line \"server NAME {address}\" in place of {}, and at its end:",
                    route.directive
                ),
                _ => format!("# at the end of the line of server {address}:"),
            };
            vec![at, pieces.join(" ")]
        }
        ProxyKind::Envoy => {
            let head = [
                "transport_socket:",
                "  name: envoy.transport_sockets.tls",
                "  typed_config:",
                "    \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            ];
            // What is not common to both sides comes first.
            let (own, common): (Vec<_>, Vec<_>) =
                pieces.into_iter().partition(|piece| piece.starts_with("sni:"));
            let own = own.into_iter().map(|line| format!("    {line}"));
            let begin = (!common.is_empty()).then(|| "    common_tls_context:".to_owned());
            let common = common.into_iter().map(|line| format!("      {line}"));
            let head = head.map(str::to_owned).into_iter();
            let framed = head.chain(own).chain(begin).chain(common);
            if route.directive != "transport_socket_matches" {
                return framed.collect();
            }
            // The one of the cluster is for endpoints that nothing there is chosen for.
            let address: Vec<_> = route.only.iter().map(ToString::to_string).collect();
            let at = format!(
                "# in the member of transport_socket_matches that {} is spoken to by:",
                address.join(", ")
            );
            [at].into_iter().chain(framed).collect()
        }
        ProxyKind::Caddy => {
            let tls = pieces.join(", ");
            vec![format!("\"transport\": {{ \"protocol\": \"http\", \"tls\": {{ {tls} }} }}")]
        }
        ProxyKind::Traefik => traefik::frame(&pieces, route),
    }
}

/// Words of the line of a server.
fn haproxy(rule: Rule, route: &Route, policy: &Policy) -> Option<Vec<String>> {
    let verify = || {
        let ca = authorities(route, "/etc/haproxy/upstream-ca.pem");
        let host = lacks_name(route).then(|| "verifyhost NAME".to_owned());
        [format!("verify required ca-file {ca}")].into_iter().chain(host)
    };
    Some(match rule {
        Rule::Plaintext if route.directive == "check" => vec!["check-ssl".to_owned()],
        Rule::Plaintext if is_check(route) => {
            vec![format!("# in the rule: {} ssl", route.directive)]
        }
        // Which it does unless told otherwise, and then it needs authorities.
        Rule::Plaintext => ["ssl".to_owned()].into_iter().chain(verify()).collect(),
        Rule::ClientCertificateMissing => vec!["crt /etc/haproxy/client.pem".to_owned()],
        Rule::UpstreamNotVerified => verify().collect(),
        Rule::VersionBelowMinimum => {
            let lowest = versions(policy.min_version?).first().copied()?;
            // The first one is called `TLSv1.0` there.
            let lowest = if lowest == "TLSv1" { "TLSv1.0" } else { lowest };
            let highest = allows_only_below(route, policy.min_version?);
            let highest = highest.then(|| "ssl-max-ver TLSv1.3".to_owned());
            [format!("ssl-min-ver {lowest}")].into_iter().chain(highest).collect()
        }
        Rule::ThirdPartyCertificate => {
            let certificate = route.tls.certificate.as_ref()?;
            vec![format!("# without: crt {}", certificate.value)]
        }
        _ => return None,
    })
}

/// Fields of the TLS context of a cluster, in YAML.
fn envoy(rule: Rule, policy: &Policy) -> Option<Vec<String>> {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    Some(match rule {
        Rule::Plaintext => lines(&["sni: NAME"]),
        Rule::ClientCertificateMissing => lines(&[
            "tls_certificates:",
            "- certificate_chain: { filename: /etc/envoy/client.pem }",
            "  private_key: { filename: /etc/envoy/client.key }",
        ]),
        Rule::UpstreamNotVerified => lines(&[
            "validation_context:",
            "  trusted_ca: { filename: /etc/envoy/upstream-ca.pem }",
            "  trust_chain_verification: VERIFY_TRUST_CHAIN",
            "  match_typed_subject_alt_names:",
            "  - { san_type: DNS, matcher: { exact: NAME } }",
        ]),
        Rule::VersionBelowMinimum => {
            let lowest = versions(policy.min_version?).first().copied()?;
            let lowest =
                if lowest == "TLSv1" { "TLSv1_0".to_owned() } else { lowest.replace('.', "_") };
            // A highest that is below it would be refused.
            vec![format!(
                "tls_params: {{ tls_minimum_protocol_version: {lowest}, \
                 tls_maximum_protocol_version: TLSv1_3 }}"
            )]
        }
        Rule::ThirdPartyCertificate => {
            lines(&["# without: tls_certificates, tls_certificate_sds_secret_configs"])
        }
        _ => return None,
    })
}

/// Members of `tls` in the transport of a `reverse_proxy` handler, in JSON; of a minimal version Caddy
/// knows no setting here.
fn caddy(rule: Rule, route: &Route) -> Option<Vec<String>> {
    let authorities = || {
        let ca = "\"root_ca_pem_files\": [\"/etc/caddy/upstream-ca.pem\"]".to_owned();
        let name = lacks_name(route).then(|| "\"server_name\": \"NAME\"".to_owned());
        [ca].into_iter().chain(name)
    };
    Some(match rule {
        // Which it checks unless told otherwise.
        Rule::Plaintext => authorities().collect(),
        Rule::ClientCertificateMissing => vec![
            "\"client_certificate_file\": \"/etc/caddy/client.pem\"".to_owned(),
            "\"client_certificate_key_file\": \"/etc/caddy/client.key\"".to_owned(),
        ],
        Rule::UpstreamNotVerified => {
            let is_named = route.tls.trusted_certificate.is_some();
            let authorities = authorities().filter(|_| !is_named);
            authorities.chain(["# without: \"insecure_skip_verify\": true".to_owned()]).collect()
        }
        Rule::ThirdPartyCertificate => vec![
            "# without: \"client_certificate_file\"".to_owned(),
            "# without: \"client_certificate_key_file\"".to_owned(),
        ],
        _ => return None,
    })
}

/// Directives for the virtual host, or for the section `<Proxy>` of the upstream.
fn apache(rule: Rule, route: &Route, policy: &Policy) -> Option<Vec<String>> {
    let verify = || {
        let ca = authorities(route, "/etc/apache2/upstream-ca.pem");
        let file = format!("SSLProxyCACertificateFile {}", quoted(ca));
        // By default it is 1, and the certificate has to be one of the CA's own.
        let depth = route.tls.verify_depth.is_none().then(|| "SSLProxyVerifyDepth 3".to_owned());
        ["SSLProxyVerify require".to_owned(), file].into_iter().chain(depth)
    };
    let by_tls = match route.protocol.as_str() {
        "" => "https",
        "ws" => "wss",
        "h2c" => "h2",
        scheme => {
            let instead = "let a proxy at the upstream end it, and use https://";
            return Some(vec![format!("# {scheme} knows no TLS: {instead}")]);
        }
    };
    Some(match rule {
        Rule::Plaintext => {
            let on = "SSLProxyEngine On".to_owned();
            let scheme = format!("# and in the line of {}: {by_tls}://", route.directive);
            [on].into_iter().chain(verify()).chain([scheme]).collect()
        }
        // The upstream asks for certificates of certain issuers: those in between have to be known.
        Rule::ClientCertificateMissing => vec![
            "SSLProxyMachineCertificateFile /etc/apache2/client.pem".to_owned(),
            "# where an intermediate has issued it: SSLProxyMachineCertificateChainFile \
             /etc/apache2/client-chain.pem"
                .to_owned(),
        ],
        Rule::UpstreamNotVerified => verify().collect(),
        Rule::VersionBelowMinimum => {
            vec![format!("SSLProxyProtocol -all +{}", versions(policy.min_version?).join(" +"))]
        }
        Rule::ThirdPartyCertificate => {
            let certificate = route.tls.certificate.as_ref()?;
            vec![format!("# without: SSLProxyMachineCertificateFile {}", certificate.value)]
        }
        _ => return None,
    })
}
