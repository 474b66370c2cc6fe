//! How a transport speaks TLS.

use std::collections::BTreeMap;

use super::{
    api::{ClientTls, TcpTransport, Transport},
    said,
    written::Certificate,
};
use crate::policy::{
    intent::{Place, Text, TlsIntent},
    lenient::Passed,
};

/// Settings of a transport that say nothing about TLS.
const OTHERS: [&str; 9] = [
    "maxIdleConnsPerHost",
    "forwardingTimeouts",
    "disableHTTP2",
    "dialTimeout",
    "dialKeepAlive",
    "terminationDelay",
    "proxyProtocol",
    "maxResponseHeaderBytes",
    "idleConnTimeout",
];

/// Cipher suites that Traefik knows: those of Go, by their names as they stand.
const SUITES: [&str; 28] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_FALLBACK_SCSV",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// What `crypto/tls` does where nothing is said: from 1.2 on, with the chain and the name checked, and
/// without a cache of sessions.
fn of_go(is_verified: bool, at: &Place) -> TlsIntent {
    let versions = ["TLSv1.2", "TLSv1.3"].map(str::to_owned);
    TlsIntent {
        verify: Some(said(is_verified, at)),
        server_name: Some(said(true, at)),
        protocols: Some(said(versions.to_vec(), at)),
        session_reuse: Some(said(false, at)),
        ..TlsIntent::default()
    }
}

/// TLS by a transport; `None` is the one that nobody changed.
pub(super) fn by(transport: Option<&Transport>, at: &Place) -> TlsIntent {
    let Some(transport) = transport else { return of_go(true, at) };
    // A URI is asked for beside a name, or where nothing else is checked: then the chain is as well.
    let is_uri_alone = transport.insecure_skip_verify && !transport.peer_cert_uri.is_empty();
    let mut tls = of_go(!transport.insecure_skip_verify || is_uri_alone, at);
    let certificates = &transport.certificates.listed;
    // Of several it is the upstream's choice which it is shown; one that cannot be loaded is left out.
    let files = |of: fn(&Certificate) -> &str| {
        let files =
            TlsIntent::one_file(certificates.iter().map(|one| content(of(one)).to_string()));
        files.map(|file| said(Text::Literal(file), at))
    };
    tls.certificate = files(|one| &one.cert_file);
    tls.certificate_key = files(|one| &one.key_file);
    if transport.certificates.is_other {
        tls.certificate_by = Some(said("certificates".to_owned(), at));
    }
    let authority =
        TlsIntent::one_file(transport.root_cas.iter().map(|file| content(file).to_string()));
    tls.trusted_certificate = authority.map(|file| said(file, at));
    if !transport.server_name.is_empty() {
        tls.name = Some(said(Text::Literal(transport.server_name.clone()), at));
    }
    if is_uri_alone {
        let host = || said(Text::Variable("the host of the address".to_owned()), at);
        tls.sni = Some(tls.name.take().unwrap_or_else(host));
        tls.name = Some(said(Text::Literal(transport.peer_cert_uri.clone()), at));
    }
    let versions = versions(&transport.min_version, &transport.max_version);
    tls.protocols = versions.map(|versions| said(versions, at));
    let suites = &transport.cipher_suites;
    tls.ciphers = (!suites.is_empty()).then(|| said(suites.join(":"), at));
    let unknown = not_known(&transport.more);
    // A transport whose versions it does not like Traefik replaces by its default, and goes on; so it
    // does with one that has a suite which it does not know.
    let is_unknown = |suite: &String| !SUITES.contains(&suite.as_str());
    let is_replaced = tls.protocols.is_none().then_some("minVersion");
    let is_replaced = is_replaced.or(suites.iter().any(is_unknown).then_some("cipherSuites"));
    let open = transport.spiffe.map(|_| "spiffe").or(is_replaced);
    if let Some(by) = open.or(unknown) {
        tls.leave_open(&said(by.to_owned(), at));
    }
    tls
}

/// TLS by a transport over TCP. The address of the server is no name that is sent, or asked for.
pub(super) fn by_tcp(transport: Option<&TcpTransport>, at: &Place) -> TlsIntent {
    let own = transport.and_then(|one| one.tls.as_ref());
    let mut tls = by(own, at);
    if own.is_none_or(|own| own.server_name.is_empty()) {
        (tls.server_name, tls.sni) = (Some(said(false, at)), None);
    }
    if let Some(by) = transport.and_then(|one| not_known(&one.more)) {
        tls.leave_open(&said(by.to_owned(), at));
    }
    tls
}

/// A setting of a transport that is not known here.
#[expect(clippy::zero_sized_map_values, reason = "serde gathers what is left in maps")]
fn not_known(more: &BTreeMap<String, Passed>) -> Option<&str> {
    let is_other = |key: &str| OTHERS.iter().any(|other| other.eq_ignore_ascii_case(key));
    more.keys().map(String::as_str).find(|key| !is_other(key))
}

/// TLS of a middleware that asks somebody.
pub(super) fn of_client(client: Option<&ClientTls>, at: &Place) -> TlsIntent {
    let Some(client) = client else { return of_go(true, at) };
    let mut tls = of_go(!client.insecure_skip_verify, at);
    let written = |file: &str| (!file.is_empty()).then(|| said(content(file), at));
    tls.certificate = written(&client.cert);
    tls.certificate_key = written(&client.key);
    let authority = written(&client.ca).map(|file| file.value.to_string());
    tls.trusted_certificate = authority.map(|file| said(file, at));
    tls
}

/// A file, or what would stand in it.
fn content(file: &str) -> Text {
    Text::Literal(if file.contains("-----BEGIN") { "data:".to_owned() } else { file.to_owned() })
}

/// Versions by their first and last, in the words of Go; `None` where Traefik does not take them: the
/// first without the last, or after it.
fn versions(lowest: &str, highest: &str) -> Option<Vec<String>> {
    const KNOWN: [(&str, &str); 4] = [
        ("VersionTLS10", "TLSv1"),
        ("VersionTLS11", "TLSv1.1"),
        ("VersionTLS12", "TLSv1.2"),
        ("VersionTLS13", "TLSv1.3"),
    ];
    let position = |name: &str| KNOWN.iter().position(|(known, _)| *known == name);
    let (lowest, highest) = match (lowest, highest) {
        ("", "") => (2, 3),
        ("", highest) => (2, position(highest)?),
        (lowest, highest) => (position(lowest)?, position(highest)?),
    };
    let all = KNOWN.get(lowest..=highest)?;
    Some(all.iter().map(|(_, name)| (*name).to_owned()).collect())
}
