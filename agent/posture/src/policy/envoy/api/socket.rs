//! Transport sockets and what they say of TLS.

use serde::{Deserialize, de::IgnoredAny};

use super::{Criteria, Enumerated};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct SocketMatch {
    #[serde(rename = "match")]
    pub(in crate::policy::envoy) criteria: Criteria,
    #[serde(alias = "transportSocket")]
    pub(in crate::policy::envoy) transport_socket: Option<TransportSocket>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TransportSocket {
    pub(in crate::policy::envoy) name: String,
    #[serde(alias = "typedConfig")]
    pub(in crate::policy::envoy) typed_config: Option<Box<TypedSocket>>,
}

/// What is known of transport sockets: TLS, and those that are around another.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TypedSocket {
    #[serde(rename = "@type")]
    pub(in crate::policy::envoy) type_url: String,
    #[serde(alias = "transportSocket")]
    pub(in crate::policy::envoy) transport_socket: Option<TransportSocket>,
    #[serde(alias = "commonTlsContext")]
    pub(in crate::policy::envoy) common_tls_context: CommonTls,
    pub(in crate::policy::envoy) sni: String,
    #[serde(alias = "autoHostSni")]
    pub(in crate::policy::envoy) auto_host_sni: bool,
    #[serde(alias = "autoSniSanValidation")]
    pub(in crate::policy::envoy) auto_sni_san_validation: bool,
    #[serde(alias = "maxSessionKeys", deserialize_with = "super::value::whole_or_none")]
    pub(in crate::policy::envoy) max_session_keys: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct CommonTls {
    #[serde(alias = "tlsParams")]
    pub(in crate::policy::envoy) tls_params: TlsParams,
    #[serde(alias = "tlsCertificates")]
    pub(in crate::policy::envoy) tls_certificates: Vec<TlsCertificate>,
    #[serde(alias = "tlsCertificateSdsSecretConfigs")]
    pub(in crate::policy::envoy) tls_certificate_sds_secret_configs: Vec<SecretName>,
    #[serde(alias = "tlsCertificateProviderInstance")]
    pub(in crate::policy::envoy) tls_certificate_provider_instance: Option<IgnoredAny>,
    #[serde(alias = "customTlsCertificateSelector")]
    pub(in crate::policy::envoy) custom_tls_certificate_selector: Option<IgnoredAny>,
    #[serde(alias = "validationContext")]
    pub(in crate::policy::envoy) validation_context: Option<ValidationContext>,
    #[serde(alias = "validationContextSdsSecretConfig")]
    pub(in crate::policy::envoy) validation_context_sds_secret_config: Option<SecretName>,
    #[serde(alias = "combinedValidationContext")]
    pub(in crate::policy::envoy) combined_validation_context: Option<CombinedValidation>,
    #[serde(alias = "customHandshaker")]
    pub(in crate::policy::envoy) custom_handshaker: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TlsParams {
    #[serde(alias = "tlsMinimumProtocolVersion")]
    pub(in crate::policy::envoy) tls_minimum_protocol_version: Option<Enumerated>,
    #[serde(alias = "cipherSuites")]
    pub(in crate::policy::envoy) cipher_suites: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TlsCertificate {
    #[serde(alias = "certificateChain")]
    pub(in crate::policy::envoy) certificate_chain: Option<Source>,
    #[serde(alias = "privateKey")]
    pub(in crate::policy::envoy) private_key: Option<Source>,
    /// Both in one.
    pub(in crate::policy::envoy) pkcs12: Option<Source>,
}

/// Where data comes from; data that stands in the configuration itself is not kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct Source {
    pub(in crate::policy::envoy) filename: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct SecretName {
    pub(in crate::policy::envoy) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct CombinedValidation {
    #[serde(alias = "defaultValidationContext")]
    pub(in crate::policy::envoy) default_validation_context: ValidationContext,
    #[serde(alias = "validationContextSdsSecretConfig")]
    pub(in crate::policy::envoy) validation_context_sds_secret_config: Option<SecretName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct ValidationContext {
    #[serde(alias = "trustedCa")]
    pub(in crate::policy::envoy) trusted_ca: Option<Source>,
    #[serde(alias = "systemRootCerts")]
    pub(in crate::policy::envoy) system_root_certs: Option<IgnoredAny>,
    #[serde(alias = "caCertificateProviderInstance")]
    pub(in crate::policy::envoy) ca_certificate_provider_instance: Option<IgnoredAny>,
    #[serde(alias = "matchTypedSubjectAltNames")]
    pub(in crate::policy::envoy) match_typed_subject_alt_names: Vec<TypedName>,
    #[serde(alias = "matchSubjectAltNames")]
    pub(in crate::policy::envoy) match_subject_alt_names: Vec<NameMatcher>,
    #[serde(alias = "verifyCertificateHash")]
    pub(in crate::policy::envoy) verify_certificate_hash: Vec<IgnoredAny>,
    #[serde(alias = "verifyCertificateSpki")]
    pub(in crate::policy::envoy) verify_certificate_spki: Vec<IgnoredAny>,
    pub(in crate::policy::envoy) crl: Option<Source>,
    #[serde(alias = "trustChainVerification")]
    pub(in crate::policy::envoy) trust_chain_verification: Option<Enumerated>,
    #[serde(alias = "customValidatorConfig")]
    pub(in crate::policy::envoy) custom_validator_config: Option<Named>,
    #[serde(alias = "maxVerifyDepth", deserialize_with = "super::value::whole_or_none")]
    pub(in crate::policy::envoy) max_verify_depth: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct Named {
    pub(in crate::policy::envoy) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct TypedName {
    pub(in crate::policy::envoy) matcher: NameMatcher,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::policy::envoy) struct NameMatcher {
    pub(in crate::policy::envoy) exact: Option<String>,
    pub(in crate::policy::envoy) prefix: Option<String>,
    pub(in crate::policy::envoy) suffix: Option<String>,
    pub(in crate::policy::envoy) contains: Option<String>,
}
