//! What mends a violation, in the language of the proxy's configuration. Paths that the configuration
//! does not name are examples.

use hopsight_core::tls::hello::TlsVersion;

use crate::policy::{
    drift::Rule,
    intent::{Route, Scheme, Target, UpstreamIntent},
    kind::ProxyKind,
    rules::Policy,
};

/// The snippet that mends a violation of `rule`; `None` where there is none to give.
pub(super) fn snippet(
    kind: ProxyKind,
    rule: Rule,
    upstream: &UpstreamIntent,
    route: &Route,
    policy: &Policy,
) -> Option<String> {
    let lines = match kind {
        ProxyKind::Nginx => nginx(rule, upstream, route, policy)?,
        ProxyKind::Haproxy => haproxy(rule, route, policy)?,
        ProxyKind::Envoy => envoy(rule, policy)?,
        ProxyKind::Caddy => caddy(rule)?,
        ProxyKind::Apache => apache(rule, route, policy)?,
        ProxyKind::Traefik => traefik(rule, policy)?,
    };
    Some(lines.join("\n"))
}

/// The authorities that the route names, or an example.
fn authorities<'a>(route: &'a Route, example: &'a str) -> &'a str {
    let named = route.tls.trusted_certificate.as_ref().map(|ca| ca.value.as_str());
    named.filter(|name| !name.is_empty()).unwrap_or(example)
}

/// The versions from `minimum` on, as OpenSSL's users spell them.
fn versions(minimum: TlsVersion) -> Vec<&'static str> {
    let known = [(0x0301, "TLSv1"), (0x0302, "TLSv1.1"), (0x0303, "TLSv1.2"), (0x0304, "TLSv1.3")];
    known.into_iter().filter(|(code, _)| *code >= minimum.0).map(|(_, name)| name).collect()
}

fn nginx(
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
        _ => {
            let what = route.directive.trim_end_matches("_pass");
            return Some(vec![format!(
                "# {what} knows no TLS: let a proxy at the upstream end it, and use proxy_pass https://"
            )]);
        }
    };
    Some(match rule {
        Rule::Plaintext if route.scheme == Scheme::Passthrough => vec!["proxy_ssl on;".to_owned()],
        Rule::Plaintext => {
            let target = match &upstream.target {
                Target::Variable(expression) => match expression.split_once("://") {
                    Some((_, after)) => after.to_owned(),
                    None => expression.clone(),
                },
                target => target.to_string(),
            };
            vec![format!("{module}_pass {scheme}://{target};")]
        }
        Rule::ClientCertificateMissing => vec![
            format!("{module}_ssl_certificate /etc/nginx/client.pem;"),
            format!("{module}_ssl_certificate_key /etc/nginx/client.key;"),
        ],
        Rule::UpstreamNotVerified => {
            let ca = authorities(route, "/etc/nginx/upstream-ca.pem");
            vec![
                format!("{module}_ssl_verify on;"),
                format!("{module}_ssl_trusted_certificate {};", quoted(ca)),
            ]
        }
        Rule::VersionBelowMinimum => {
            vec![format!("{module}_ssl_protocols {};", versions(policy.min_version?).join(" "))]
        }
        Rule::ThirdPartyCertificate => vec![format!("{module}_ssl_certificate \"\";")],
        _ => return None,
    })
}

/// A word of nginx's, in quotes where it needs them.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("{word:?}") }
}

fn haproxy(rule: Rule, route: &Route, policy: &Policy) -> Option<Vec<String>> {
    let ca = authorities(route, "/etc/haproxy/upstream-ca.pem");
    let verify = format!("verify required ca-file {ca}");
    let words = match rule {
        Rule::Plaintext if route.directive == "check" => "check-ssl".to_owned(),
        Rule::Plaintext => format!("ssl {verify}"),
        Rule::ClientCertificateMissing => "crt /etc/haproxy/client.pem".to_owned(),
        Rule::UpstreamNotVerified => verify,
        Rule::VersionBelowMinimum => {
            let lowest = versions(policy.min_version?).first().copied()?;
            // The first one is called `TLSv1.0` there.
            let lowest = if lowest == "TLSv1" { "TLSv1.0" } else { lowest };
            format!("ssl-min-ver {lowest}")
        }
        Rule::ThirdPartyCertificate => {
            let certificate = route.tls.certificate.as_ref()?;
            return Some(vec![format!("# without: crt {}", certificate.value)]);
        }
        _ => return None,
    };
    let address: Vec<_> = route.only.iter().map(ToString::to_string).collect();
    Some(vec![format!("# at the end of the line of server {}:", address.join(" ")), words])
}

/// Fields of a cluster, in YAML.
fn envoy(rule: Rule, policy: &Policy) -> Option<Vec<String>> {
    let context: Vec<String> = match rule {
        Rule::Plaintext => vec!["sni: NAME".to_owned()],
        Rule::ClientCertificateMissing => vec![
            "common_tls_context:".to_owned(),
            "  tls_certificates:".to_owned(),
            "  - certificate_chain: { filename: /etc/envoy/client.pem }".to_owned(),
            "    private_key: { filename: /etc/envoy/client.key }".to_owned(),
        ],
        Rule::UpstreamNotVerified => vec![
            "common_tls_context:".to_owned(),
            "  validation_context:".to_owned(),
            "    trusted_ca: { filename: /etc/envoy/upstream-ca.pem }".to_owned(),
            "    match_typed_subject_alt_names:".to_owned(),
            "    - { san_type: DNS, matcher: { exact: NAME } }".to_owned(),
        ],
        Rule::VersionBelowMinimum => {
            let lowest = versions(policy.min_version?).first().copied()?;
            let lowest =
                if lowest == "TLSv1" { "TLSv1_0".to_owned() } else { lowest.replace('.', "_") };
            vec![
                "common_tls_context:".to_owned(),
                format!("  tls_params: {{ tls_minimum_protocol_version: {lowest} }}"),
            ]
        }
        Rule::ThirdPartyCertificate => {
            return Some(vec![
                "# without: tls_certificates, tls_certificate_sds_secret_configs".to_owned(),
            ]);
        }
        _ => return None,
    };
    let head = [
        "transport_socket:",
        "  name: envoy.transport_sockets.tls",
        "  typed_config:",
        "    \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    ];
    let context = context.into_iter().map(|line| format!("    {line}"));
    Some(head.iter().map(|line| (*line).to_owned()).chain(context).collect())
}

/// Members of a `reverse_proxy` handler, in JSON; of a minimal version Caddy knows no setting here.
fn caddy(rule: Rule) -> Option<Vec<String>> {
    let tls = match rule {
        Rule::Plaintext => "\"root_ca_pem_files\": [\"/etc/caddy/upstream-ca.pem\"]",
        Rule::ClientCertificateMissing => {
            "\"client_certificate_file\": \"/etc/caddy/client.pem\", \
             \"client_certificate_key_file\": \"/etc/caddy/client.key\""
        }
        Rule::UpstreamNotVerified => {
            return Some(vec!["# without: \"insecure_skip_verify\": true".to_owned()]);
        }
        Rule::ThirdPartyCertificate => {
            return Some(vec!["# without: \"client_certificate_file\"".to_owned()]);
        }
        _ => return None,
    };
    Some(vec![format!("\"transport\": {{ \"protocol\": \"http\", \"tls\": {{ {tls} }} }}")])
}

/// Directives for the virtual host, or for the section `<Proxy>` of the upstream.
fn apache(rule: Rule, route: &Route, policy: &Policy) -> Option<Vec<String>> {
    let verify = || {
        let ca = authorities(route, "/etc/apache2/upstream-ca.pem");
        ["SSLProxyVerify require".to_owned(), format!("SSLProxyCACertificateFile {}", quoted(ca))]
    };
    Some(match rule {
        Rule::Plaintext => {
            let on = "SSLProxyEngine On".to_owned();
            let scheme = format!("# and in the line of {}: https://", route.directive);
            [on].into_iter().chain(verify()).chain([scheme]).collect()
        }
        Rule::ClientCertificateMissing => {
            vec!["SSLProxyMachineCertificateFile /etc/apache2/client.pem".to_owned()]
        }
        Rule::UpstreamNotVerified => verify().into(),
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

/// A transport that services name as `serversTransport: NAME`, in YAML.
fn traefik(rule: Rule, policy: &Policy) -> Option<Vec<String>> {
    let settings = match rule {
        Rule::Plaintext => {
            vec!["rootCAs: [/etc/traefik/upstream-ca.pem] # and https:// in the url".to_owned()]
        }
        Rule::ClientCertificateMissing => vec![
            "certificates:".to_owned(),
            "  - { certFile: /etc/traefik/client.pem, keyFile: /etc/traefik/client.key }"
                .to_owned(),
        ],
        Rule::UpstreamNotVerified => vec!["insecureSkipVerify: false".to_owned()],
        // The lowest alone it does not take.
        Rule::VersionBelowMinimum => {
            let lowest = if policy.min_version?.0 > 0x0303 { "13" } else { "12" };
            vec![format!("minVersion: VersionTLS{lowest}"), "maxVersion: VersionTLS13".to_owned()]
        }
        Rule::ThirdPartyCertificate => vec!["certificates: []".to_owned()],
        _ => return None,
    };
    let head = ["http:", "  serversTransports:", "    NAME:"].map(str::to_owned);
    let settings = settings.into_iter().map(|line| format!("      {line}"));
    Some(head.into_iter().chain(settings).collect())
}
