//! Reading and checking a policy file.

use std::{ops::Range, time::Duration};

use hopsight_core::tls::hello::TlsVersion;
use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;
use toml::Spanned;

use super::{
    ClientCertificate, KeyExchange, Match, Policy, PolicySet, Require, VerifyUpstream, values,
};

/// hopsight's own policies, in the form of a policy file.
pub const BUILT_IN: &str = include_str!("built_in.toml");

/// What is wrong in a policy file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong and what to do about it.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    policies: Vec<Spanned<RawPolicy>>,
    /// What [`Exemptions`](crate::policy::exempt::Exemptions) reads.
    #[serde(default, rename = "exempt")]
    _exempt: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: Option<Spanned<String>>,
    #[serde(default, rename = "match")]
    matches: Match,
    require: Require,
    #[serde(default, deserialize_with = "values::version")]
    min_version: Option<TlsVersion>,
    #[serde(default, deserialize_with = "verify_upstream")]
    verify_upstream: Option<VerifyUpstream>,
    client_certificate: Option<Spanned<ClientCertificate>>,
    allowed_client_issuers: Option<Spanned<Vec<String>>>,
    allowed_client_sans: Option<Spanned<Vec<String>>>,
    #[serde(default, deserialize_with = "values::duration")]
    expiry_margin: Option<Duration>,
    #[serde(default, deserialize_with = "values::duration")]
    max_authentication_age: Option<Duration>,
    forbidden_ciphers: Option<Spanned<Vec<String>>>,
    minimum_key_exchange: Option<KeyExchange>,
    allowed_groups: Option<Spanned<Vec<String>>>,
    allowed_signature_schemes: Option<Spanned<Vec<String>>>,
    allowed_spiffe_ids: Option<Spanned<Vec<String>>>,
    #[serde(default, deserialize_with = "values::duration")]
    max_certificate_lifetime: Option<Duration>,
    allowed_upstream_issuers: Option<Spanned<Vec<String>>>,
    allowed_public_keys: Option<Spanned<Vec<String>>>,
    allowed_certificate_signatures: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    keys_must_be_unique: bool,
    #[serde(default)]
    must_chain: bool,
    #[serde(default)]
    must_not_be_revoked: bool,
}

fn verify_upstream<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<VerifyUpstream>, D::Error> {
    values::verify_upstream(deserializer).map(Some)
}

impl PolicySet {
    /// Reads a policy file. The built-in policies are appended.
    ///
    /// # Errors
    /// Syntax, unknown keys, values out of range, and policies that contradict themselves or can
    /// never apply.
    pub fn parse(source: &str) -> Result<Self, PolicyError> {
        let mut policies = read(source, false)?;
        policies.extend(read(BUILT_IN, true)?);
        Ok(Self { policies })
    }

    /// The built-in policies alone.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn built_in() -> Self {
        match Self::parse("") {
            Ok(policies) => policies,
            Err(error) => unreachable!("built-in policies: {error}"),
        }
    }
}

fn read(source: &str, built_in: bool) -> Result<Vec<Policy>, PolicyError> {
    let file: RawFile = toml::from_str(source).map_err(|error| {
        PolicyError::at(source, error.span().unwrap_or(0..0), error.message().to_owned())
    })?;
    let mut policies: Vec<Policy> = Vec::new();
    for (index, raw) in file.policies.into_iter().enumerate() {
        let begin = PolicyError::header(source, raw.span());
        let raw = raw.into_inner();
        let name_span = raw.name.as_ref().map_or(begin.clone(), Spanned::span);
        check(source, &raw)?;
        let policy = policy(raw, index, PolicyError::position(source, begin.start).0, built_in);
        for earlier in &policies {
            if earlier.name == policy.name {
                let message = format!(
                    "policy \"{}\" has the name of the one in line {}",
                    policy.name, earlier.line
                );
                return Err(PolicyError::at(source, name_span, message));
            }
            if earlier.matches.covers(&policy.matches) {
                let message = format!(
                    "policy \"{}\" can never apply: the first match counts, and policy \"{}\" in \
                     line {} matches every hop this one does{}; move this one before it",
                    policy.name,
                    earlier.name,
                    earlier.line,
                    contradiction(earlier, &policy),
                );
                return Err(PolicyError::at(source, begin, message));
            }
        }
        policies.push(policy);
    }
    Ok(policies)
}

fn contradiction(earlier: &Policy, later: &Policy) -> String {
    if earlier.require == later.require {
        return String::new();
    }
    format!(" and requires {} where this one requires {}", earlier.require, later.require)
}

fn policy(raw: RawPolicy, index: usize, line: u32, built_in: bool) -> Policy {
    let list =
        |list: Option<Spanned<Vec<String>>>| list.map(Spanned::into_inner).unwrap_or_default();
    let verify_by_default = match raw.require {
        Require::PlaintextAllowed => VerifyUpstream::Never,
        Require::Tls | Require::Mtls => VerifyUpstream::UnlessMtls,
    };
    Policy {
        name: raw.name.map_or_else(|| format!("policy-{}", index + 1), Spanned::into_inner),
        line,
        built_in,
        matches: raw.matches,
        require: raw.require,
        min_version: raw.min_version,
        verify_upstream: raw.verify_upstream.unwrap_or(verify_by_default),
        client_certificate: raw
            .client_certificate
            .map_or(ClientCertificate::Allowed, Spanned::into_inner),
        allowed_client_issuers: list(raw.allowed_client_issuers),
        allowed_client_sans: list(raw.allowed_client_sans),
        expiry_margin: raw.expiry_margin,
        max_authentication_age: raw.max_authentication_age,
        forbidden_ciphers: list(raw.forbidden_ciphers),
        minimum_key_exchange: raw.minimum_key_exchange,
        allowed_groups: list(raw.allowed_groups),
        allowed_signature_schemes: list(raw.allowed_signature_schemes),
        allowed_spiffe_ids: list(raw.allowed_spiffe_ids),
        max_certificate_lifetime: raw.max_certificate_lifetime,
        allowed_upstream_issuers: list(raw.allowed_upstream_issuers),
        allowed_public_keys: list(raw.allowed_public_keys),
        allowed_certificate_signatures: list(raw.allowed_certificate_signatures),
        keys_must_be_unique: raw.keys_must_be_unique,
        must_chain: raw.must_chain,
        must_not_be_revoked: raw.must_not_be_revoked,
    }
}

/// Refuses a policy that contradicts itself.
fn check(source: &str, raw: &RawPolicy) -> Result<(), PolicyError> {
    let error =
        |span: Range<usize>, message: &str| Err(PolicyError::at(source, span, message.to_owned()));
    let forbidden = raw
        .client_certificate
        .as_ref()
        .filter(|value| *value.get_ref() == ClientCertificate::Forbidden);
    if let Some(forbidden) = forbidden
        && raw.require == Require::Mtls
    {
        return error(
            forbidden.span(),
            "client_certificate = \"forbidden\" contradicts require = \"mtls\"",
        );
    }
    for (key, list) in [
        ("allowed_client_issuers", &raw.allowed_client_issuers),
        ("allowed_client_sans", &raw.allowed_client_sans),
    ] {
        let Some(list) = list else { continue };
        if list.get_ref().is_empty() {
            let message = format!("{key} = [] allows nobody; leave it out to allow all");
            return error(list.span(), &message);
        }
        if forbidden.is_some() {
            let message = format!("{key} contradicts client_certificate = \"forbidden\"");
            return error(list.span(), &message);
        }
    }
    for (key, list) in [
        ("allowed_groups", &raw.allowed_groups),
        ("allowed_signature_schemes", &raw.allowed_signature_schemes),
        ("allowed_spiffe_ids", &raw.allowed_spiffe_ids),
        ("allowed_upstream_issuers", &raw.allowed_upstream_issuers),
        ("allowed_public_keys", &raw.allowed_public_keys),
        ("allowed_certificate_signatures", &raw.allowed_certificate_signatures),
    ] {
        if let Some(list) = list.as_ref().filter(|list| list.get_ref().is_empty()) {
            let message = format!("{key} = [] allows none; leave it out to allow all");
            return error(list.span(), &message);
        }
    }
    if let Some(ciphers) = &raw.forbidden_ciphers
        && raw.require != Require::PlaintextAllowed
        && ciphers.get_ref().iter().any(|pattern| pattern == "*")
    {
        let message = format!("forbidding every cipher contradicts require = \"{}\"", raw.require);
        return error(ciphers.span(), &message);
    }
    Ok(())
}

impl PolicyError {
    /// Where the `[[name]]` line of a table is: the parser's span may begin at its first key.
    pub(in crate::policy) fn header(source: &str, span: Range<usize>) -> Range<usize> {
        let before = source.get(..span.start).unwrap_or_default();
        if source[span.start..].starts_with("[[") {
            return span;
        }
        before.rfind("[[").map_or(span, |start| start..start + 2)
    }

    pub(in crate::policy) fn at(source: &str, span: Range<usize>, message: String) -> Self {
        let (line, column) = Self::position(source, span.start);
        Self { line, column, message }
    }

    /// Line and column of a place in the text, from 1.
    pub(in crate::policy) fn position(source: &str, offset: usize) -> (u32, u32) {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }
}
