//! From an `UpstreamTlsContext` to what is intended.

use super::{
    Context,
    api::{
        Cluster, CommonTls, Enumerated, NameMatcher, SecretName, Source, TypedSocket, UpstreamHttp,
        ValidationContext,
    },
};
use crate::policy::intent::{Place, Setting, Text, TlsIntent};

/// In their order, with their numbers; what is said is the lowest.
const VERSIONS: [(&str, i64, &str); 4] = [
    ("TLSv1_0", 1, "TLSv1.0"),
    ("TLSv1_1", 2, "TLSv1.1"),
    ("TLSv1_2", 3, "TLSv1.2"),
    ("TLSv1_3", 4, "TLSv1.3"),
];
/// Where that of a client begins that says none (`TLS_AUTO`).
const BY_DEFAULT: usize = 2;

/// What the context says.
pub(super) fn intent(
    socket: &TypedSocket,
    cluster: &Cluster,
    context: &Context<'_>,
    at: &Place,
) -> TlsIntent {
    let common = &socket.common_tls_context;
    let mut options = cluster.typed_extension_protocol_options.values();
    let http = options.find_map(|one| one.upstream_http_protocol_options.as_ref());
    let mut tls = TlsIntent {
        protocols: Some(said(protocols(common), at)),
        ciphers: {
            let suites = &common.tls_params.cipher_suites;
            (!suites.is_empty()).then(|| said(suites.join(":"), at))
        },
        // Envoy keeps one session unless told otherwise.
        session_reuse: Some(said(socket.max_session_keys != Some(0), at)),
        sni: sent_name(socket, http).map(|name| said(name, at)),
        ..TlsIntent::default()
    };
    certificate(&mut tls, common, at);
    validation(&mut tls, common, context, at);
    if tls.name.is_none() {
        let auto = [
            (http.is_some_and(|http| http.auto_san_validation), "auto_san_validation"),
            (socket.auto_sni_san_validation, "auto_sni_san_validation"),
        ];
        let by = auto.into_iter().find(|(is_on, _)| *is_on);
        tls.name = by.map(|(_, name)| said(Text::Variable(name.to_owned()), at));
    }
    if common.custom_handshaker.is_some() {
        tls.leave_open(&said("custom_handshaker".to_owned(), at));
    }
    tls
}

fn said<T>(value: T, at: &Place) -> Setting<T> {
    Setting { value, at: at.clone() }
}

fn protocols(common: &CommonTls) -> Vec<String> {
    let lowest = common.tls_params.tls_minimum_protocol_version.as_ref();
    let lowest = lowest.filter(|version| !version.is("TLS_AUTO", 0));
    let position = |version: &Enumerated| {
        VERSIONS.iter().position(|(name, number, _)| version.is(name, *number))
    };
    match lowest.map_or(Ok(BY_DEFAULT), |version| position(version).ok_or(version)) {
        Ok(first) => VERSIONS[first..].iter().map(|(.., text)| (*text).to_owned()).collect(),
        // A version that is not known here: said as it is, and so with no known lowest.
        Err(unknown) => vec![unknown.to_string()],
    }
}

fn sent_name(socket: &TypedSocket, http: Option<&UpstreamHttp>) -> Option<Text> {
    if http.is_some_and(|http| http.auto_sni) {
        return Some(Text::Variable("auto_sni".to_owned()));
    }
    if socket.auto_host_sni {
        return Some(Text::Variable("auto_host_sni".to_owned()));
    }
    (!socket.sni.is_empty()).then(|| Text::Literal(socket.sni.clone()))
}

/// A file, or that the data stands in the configuration itself.
fn source(source: Option<&Source>) -> Option<Text> {
    let filename = source?.filename.clone();
    Some(Text::Literal(filename.unwrap_or_else(|| "data:".to_owned())))
}

fn secret(name: &SecretName) -> String {
    format!("sds:{}", name.name)
}

fn certificate(tls: &mut TlsIntent, common: &CommonTls, at: &Place) {
    if let Some(first) = common.tls_certificates.first() {
        tls.certificate = source(first.certificate_chain.as_ref()).map(|text| said(text, at));
        tls.certificate_key = source(first.private_key.as_ref()).map(|text| said(text, at));
        if let Some(both) = source(first.pkcs12.as_ref()) {
            tls.certificate = Some(said(both.clone(), at));
            tls.certificate_key = Some(said(both, at));
        }
    } else if let Some(first) = common.tls_certificate_sds_secret_configs.first() {
        tls.certificate = Some(said(Text::Literal(secret(first)), at));
    }
    for (is_there, by) in [
        (common.tls_certificate_provider_instance.is_some(), "tls_certificate_provider_instance"),
        (common.custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
    ] {
        if is_there {
            tls.certificate_by = Some(said(by.to_owned(), at));
        }
    }
}

fn validation(tls: &mut TlsIntent, common: &CommonTls, context: &Context<'_>, at: &Place) {
    let combined = common.combined_validation_context.as_ref();
    let by_name = combined
        .and_then(|one| one.validation_context_sds_secret_config.as_ref())
        .or(common.validation_context_sds_secret_config.as_ref());
    let written =
        combined.map(|one| &one.default_validation_context).or(common.validation_context.as_ref());
    let from_secret = by_name.and_then(|name| context.validations.get(name.name.as_str()).copied());
    let contexts = || written.into_iter().chain(from_secret);
    let verifications = || contexts().filter_map(|one| one.trust_chain_verification.as_ref());
    let accepts_all = verifications().any(|one| one.is("ACCEPT_UNTRUSTED", 1));
    let is_checked = contexts().any(checks);
    tls.verify = Some(said(is_checked && !accepts_all, at));
    if let Some(validator) = contexts().find_map(|one| one.custom_validator_config.as_ref()) {
        tls.verify_by = Some(said(validator.name.clone(), at));
    } else if let Some(name) = by_name
        && from_secret.is_none()
        && !accepts_all
    {
        // The secret has not been shown: whether it names an authority, or accepts any, is not known.
        tls.verify_by = Some(said(secret(name), at));
    }
    let authority = contexts().find_map(|one| source(one.trusted_ca.as_ref()));
    let named = by_name.filter(|_| from_secret.is_some_and(checks)).map(secret);
    let authority = named.or_else(|| authority.as_ref().map(ToString::to_string));
    tls.trusted_certificate = authority.map(|authority| said(authority, at));
    let crl = contexts().find_map(|one| source(one.crl.as_ref()));
    tls.crl = crl.map(|crl| said(crl.to_string(), at));
    tls.verify_depth = contexts().find_map(|one| one.max_verify_depth).map(|depth| said(depth, at));
    let mut expected = contexts().flat_map(|one| {
        let typed = one.match_typed_subject_alt_names.iter().map(|name| &name.matcher);
        typed.chain(&one.match_subject_alt_names).map(name)
    });
    tls.name = expected.next().map(|name| said(name, at));
    tls.other_names = expected.map(|name| said(name, at)).collect();
}

/// Whether a context has anything to hold a certificate against.
fn checks(context: &ValidationContext) -> bool {
    context.trusted_ca.is_some()
        || context.system_root_certs.is_some()
        || context.ca_certificate_provider_instance.is_some()
        || !context.verify_certificate_hash.is_empty()
        || !context.verify_certificate_spki.is_empty()
}

fn name(matcher: &NameMatcher) -> Text {
    let NameMatcher { exact, prefix, suffix, contains } = matcher;
    match (exact, prefix, suffix, contains) {
        (Some(exact), ..) => Text::Literal(exact.clone()),
        (None, Some(prefix), ..) => Text::Variable(format!("{prefix}*")),
        (None, None, Some(suffix), _) => Text::Variable(format!("*{suffix}")),
        (None, None, None, Some(part)) => Text::Variable(format!("*{part}*")),
        (None, None, None, None) => Text::Variable("a pattern".to_owned()),
    }
}
