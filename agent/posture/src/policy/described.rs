//! What an intent says, in the words of the fixtures of haproxy and Envoy, and what all fixtures
//! have in common.

use std::fmt::Write as _;

use super::intent::{Intent, Route, RouteKind, Scheme, Servers, Stated, Text, UpstreamIntent};

/// The lines of a fixture that begin with `marker`.
pub(super) fn said(fixture: &str, marker: &str) -> Vec<String> {
    let lines = fixture.lines().filter_map(|line| line.strip_prefix(marker));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Asserts that what was read of each fixture called `broken…` is the error that it says after `#!`:
/// place, below `directory`, and words. Answers how many there are.
pub(super) fn refused_as_said<F: AsRef<[u8]>>(
    directory: &str,
    fixtures: impl IntoIterator<Item = (String, F)>,
    read: impl Fn(&F) -> Result<Intent, String>,
) -> usize {
    let broken = fixtures.into_iter().filter(|(name, _)| name.starts_with("broken"));
    let judge = |(name, fixture): (String, F)| {
        let error = match read(&fixture) {
            Ok(intent) => panic!("{name}: read as {:?}", routes(&intent)),
            Err(error) => error,
        };
        let expected = said(&String::from_utf8_lossy(fixture.as_ref()), "#!").pop().unwrap();
        let (place, words) = expected.split_once(' ').unwrap();
        let begin = format!("{directory}/{place}: ");
        assert!(error.starts_with(&begin) && error.contains(words), "{name}: {error}");
    };
    broken.map(judge).count()
}

/// The directive of a route, behind what else decides how it is mended.
pub(super) fn directive(route: &Route) -> String {
    let kind = match route.kind {
        RouteKind::Plain if route.protocol.is_empty() => return route.directive.clone(),
        RouteKind::Plain => &route.protocol,
        RouteKind::Stream => "stream",
        RouteKind::Conditional => "if",
        RouteKind::ByVariable => "variable",
    };
    format!("{kind} {}", route.directive)
}

/// One route in the words of the fixtures: only what is said, in a fixed order.
fn describe(upstream: &UpstreamIntent, route: &Route) -> String {
    let text = |text: &Text| match text {
        Text::Literal(value) => value.clone(),
        Text::Variable(value) => format!("{value}(variable)"),
    };
    let mut out = format!("{} {} {}", upstream.target, directive(route), route.scheme);
    if matches!(route.scheme, Scheme::Tls | Scheme::Unknown) {
        let tls = &route.tls;
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(out, " {key}{value}").unwrap();
            }
        };
        add("cert=", tls.certificate.as_ref().map(|certificate| text(&certificate.value)));
        add("cert-by=", tls.certificate_by.as_ref().map(|by| by.value.clone()));
        add("verify", (tls.verifies() == Stated::Yes).then(String::new));
        add("verify-by=", tls.verify_by.as_ref().map(|by| by.value.clone()));
        add("ca=", tls.trusted_certificate.as_ref().map(|ca| ca.value.clone()));
        add("crl=", tls.crl.as_ref().map(|crl| crl.value.clone()));
        add("name=", route.expected_name().map(text));
        add("sni=", route.sent_name().map(ToString::to_string));
        add("protocols=", tls.protocols.as_ref().map(|protocols| protocols.value.join(",")));
        add("ciphers=", tls.ciphers.as_ref().map(|ciphers| ciphers.value.clone()));
        add("no-reuse", (!tls.reuses_sessions()).then(String::new));
    }
    out.push_str(" ->");
    let all: Vec<_> = upstream.servers.iter().map(|server| server.address.clone()).collect();
    for address in if route.only.is_empty() { &all } else { &route.only } {
        write!(out, " {address}").unwrap();
        let Some(server) = upstream.servers.iter().find(|server| server.address == *address) else {
            continue;
        };
        let weight = format!("(weight={})", server.weight);
        for (is_so, flag) in [
            (server.weight != 1, weight.as_str()),
            (server.backup, "(backup)"),
            (server.down, "(down)"),
            (server.resolve, "(resolve)"),
        ] {
            out.push_str(if is_so { flag } else { "" });
        }
    }
    if upstream.listing == Servers::Dynamic {
        out.push_str(" dynamic");
    }
    out
}

/// All routes in the words of the fixtures.
pub(super) fn routes(intent: &Intent) -> Vec<String> {
    let of = |upstream| move |route| describe(upstream, route);
    intent.upstreams.iter().flat_map(|one| one.routes.iter().map(of(one))).collect()
}

/// The files that fixtures name: an authority, a client's certificate with its key, and a list.
pub(super) fn pem_files() -> [(&'static str, String); 3] {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["ca.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_params(&params, &key);
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    let client = client.signed_by(&client_key, &issuer).unwrap();
    let day = |year| rcgen::date_time_ymd(year, 1, 1);
    let list = rcgen::CertificateRevocationListParams {
        this_update: day(2026),
        next_update: day(2126),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).unwrap();
    [
        ("ca.pem", ca.pem()),
        ("client.pem", client.pem() + &client_key.serialize_pem()),
        ("crl.pem", list.pem().unwrap()),
    ]
}
