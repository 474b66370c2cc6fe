//! Certificate messages (RFC 8446 section 4.4.2, RFC 5246 section 7.4.2) and X.509 facts (RFC 5280).

use std::sync::Arc;

use x509_parser::{
    asn1_rs::{Oid, Tag, oid},
    extensions::GeneralName,
    objects::{oid_registry, oid2sn},
    oid_registry::OID_PKCS1_RSASSAPSS,
    prelude::*,
    signature_algorithm::RsaSsaPssParams,
};

use super::{
    fields::Fields,
    fingerprint::Fingerprint,
    hello::Malformed,
    key_usage::{extended_key_usage, key_usage},
    name::{distinguished_name, utf8_or_latin1, visible},
    public_key::{algorithm_name, public_key_name},
    status::timestamps,
};
use crate::{
    collections::HashMap,
    model::hex,
    tls::certificate_facts::{CertificateFacts, IssuerFacts},
};

/// Certificates behind the end entity's that are kept of one message, and the bytes of one of them
/// that are. Chains in use have one to three.
pub const MAX_ISSUERS: usize = 7;
const MAX_ISSUER_DER: usize = 16 * 1024;
/// Bytes of a chain that is kept whole for others to verify.
const MAX_WHOLE: usize = 32 * 1024;

/// What is kept of the certificates in one Certificate message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The first, which is the end entity's, DER encoded; empty if there is none.
    pub end_entity: Box<[u8]>,
    /// Those behind it, in their order, without those that are longer than is kept; [`MAX_ISSUERS`]
    /// at most.
    pub issuers: Vec<Box<[u8]>>,
    /// How many there are in all.
    pub length: usize,
}

impl Chain {
    /// Takes in the next certificate, which is not empty: `opaque ASN1Cert<1..2^24-1>` and
    /// `opaque cert_data<1..2^24-1>`.
    fn add(&mut self, der: &[u8]) -> Result<(), Malformed> {
        if der.is_empty() {
            return Err(Malformed("empty certificate"));
        }
        if self.length == 0 {
            self.end_entity = der.into();
        } else if self.length <= MAX_ISSUERS && der.len() <= MAX_ISSUER_DER {
            self.issuers.push(der.into());
        }
        self.length += 1;
        Ok(())
    }
}

impl Chain {
    /// Whether every certificate of it is kept.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.issuers.len() + 1 == self.length
    }

    fn bytes(&self) -> usize {
        self.end_entity.len() + self.issuers.iter().map(|der| der.len()).sum::<usize>()
    }
}

/// Reads the body of a Certificate message up to TLS 1.2.
///
/// # Errors
/// If the lengths do not fit, or a certificate is empty.
pub fn parse_chain(body: &[u8]) -> Result<Chain, Malformed> {
    const ERROR: Malformed = Malformed("Certificate");
    let mut list = Fields::of(Fields::of(body).prefixed::<3>().ok_or(ERROR)?);
    let mut chain = Chain::default();
    while !list.rest().is_empty() {
        chain.add(list.prefixed::<3>().ok_or(ERROR)?)?;
    }
    Ok(chain)
}

/// Reads the body of a TLS 1.3 Certificate message.
///
/// # Errors
/// If the lengths do not fit, or a certificate is empty.
pub fn parse_chain_13(body: &[u8]) -> Result<Chain, Malformed> {
    const ERROR: Malformed = Malformed("Certificate");
    let mut fields = Fields::of(body);
    let _context = fields.prefixed::<1>().ok_or(ERROR)?;
    let mut list = Fields::of(fields.prefixed::<3>().ok_or(ERROR)?);
    let mut chain = Chain::default();
    while !list.rest().is_empty() {
        let data = list.prefixed::<3>().ok_or(ERROR)?;
        let _extensions = list.prefixed::<2>().ok_or(ERROR)?;
        chain.add(data)?;
    }
    Ok(chain)
}

/// Facts of the chain's end entity certificate.
///
/// # Errors
/// If there is none, or it is not X.509 (a raw public key, RFC 7250, for one).
pub fn facts(chain: &Chain) -> Result<CertificateFacts, Malformed> {
    let facts = end_entity(chain)?;
    let issuers = chain.issuers.iter().filter_map(|der| issuer(der)).map(Arc::new);
    Ok(CertificateFacts { issuers: issuers.collect(), ..facts })
}

/// The same, without those behind it.
fn end_entity(chain: &Chain) -> Result<CertificateFacts, Malformed> {
    let (_, certificate) =
        X509Certificate::from_der(&chain.end_entity).map_err(|_| Malformed("X.509 certificate"))?;
    Ok(CertificateFacts {
        subject: distinguished_name(certificate.subject()),
        issuer: distinguished_name(certificate.issuer()),
        sans: alternative_names(&certificate),
        serial: serial(certificate.raw_serial()),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        public_key: public_key_name(certificate.public_key()),
        signature: signature(&certificate),
        chain_length: chain.length,
        sha256: Some(Fingerprint::of(&chain.end_entity)),
        key_usage: key_usage(&certificate),
        extended_key_usage: extended_key_usage(&certificate),
        key_sha256: Some(Fingerprint::of(certificate.public_key().raw)),
        timestamps: embedded_timestamps(&certificate),
        issuers: Vec::new(),
    })
}

/// How many signed certificate timestamps are in it.
fn embedded_timestamps(certificate: &X509Certificate<'_>) -> u16 {
    const TIMESTAMPS: Oid<'_> = oid!(1.3.6.1.4.1.11129.2.4.2);
    let Ok(Some(extension)) = certificate.get_extension_unique(&TIMESTAMPS) else { return 0 };
    // An octet string inside of the extension's.
    let Ok((_, list)) = <&[u8]>::from_der(extension.value) else { return 0 };
    timestamps(list)
}

/// Facts of a certificate that was sent behind another; `None` where it is not X.509.
fn issuer(der: &[u8]) -> Option<IssuerFacts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(IssuerFacts {
        subject: distinguished_name(certificate.subject()),
        issuer: distinguished_name(certificate.issuer()),
        serial: serial(certificate.raw_serial()),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        public_key: public_key_name(certificate.public_key()),
        signature: signature(&certificate),
        sha256: Fingerprint::of(der),
    })
}

/// Certificates whose facts are remembered.
const MAX_REMEMBERED: usize = 256;
/// Longest certificate whose facts are remembered, in bytes.
const MAX_REMEMBERED_DER: usize = 4096;

/// What one side sent: the facts, and the chain itself for those who verify it; `None` where that is
/// larger than anybody keeps.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Facts of its end entity.
    pub facts: Arc<CertificateFacts>,
    /// The chain.
    pub chain: Option<Arc<Chain>>,
}

/// Facts of the certificates seen lately: a proxy meets the same few over and over.
#[derive(Debug, Default)]
pub struct CertificateMemory {
    by_der: HashMap<Box<[u8]>, Sent>,
    /// Those behind them; `None` of what is not X.509.
    issuers: HashMap<Box<[u8]>, Option<Arc<IssuerFacts>>>,
}

impl CertificateMemory {
    /// As [`facts`], with the chain.
    ///
    /// # Errors
    /// As [`facts`].
    pub fn sent(&mut self, chain: &Chain) -> Result<Sent, Malformed> {
        let known = self.by_der.get(&chain.end_entity);
        let is_known = |known: &&Sent| known.chain.as_deref() == Some(chain);
        if let Some(known) = known.filter(is_known) {
            return Ok(known.clone());
        }
        let issuers: Vec<_> = chain.issuers.iter().filter_map(|der| self.issuer(der)).collect();
        let facts = match self.by_der.get(&chain.end_entity).map(|known| &known.facts) {
            Some(known) if known.chain_length == chain.length && known.issuers == issuers => {
                known.clone()
            }
            Some(known) => {
                CertificateFacts { chain_length: chain.length, issuers, ..(**known).clone() }.into()
            }
            None => Arc::new(CertificateFacts { issuers, ..end_entity(chain)? }),
        };
        let whole = (chain.bytes() <= MAX_WHOLE).then(|| Arc::new(chain.clone()));
        let sent = Sent { facts, chain: whole };
        remember(&mut self.by_der, &chain.end_entity, &sent);
        Ok(sent)
    }

    fn issuer(&mut self, der: &[u8]) -> Option<Arc<IssuerFacts>> {
        if let Some(known) = self.issuers.get(der) {
            return known.clone();
        }
        let facts = issuer(der).map(Arc::new);
        remember(&mut self.issuers, der, &facts);
        facts
    }
}

/// The few that matter are back with the next handshakes.
fn remember<Facts: Clone>(known: &mut HashMap<Box<[u8]>, Facts>, der: &[u8], facts: &Facts) {
    if der.len() <= MAX_REMEMBERED_DER {
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(der.into(), facts.clone());
    }
}

/// Hex of the serial number, without the zero byte that only keeps it positive.
#[must_use]
pub fn serial(raw: &[u8]) -> String {
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    hex(digits)
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(alternative_name).collect()
}

/// One name with its kind before it; `None` for kinds that nobody uses.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    Some(match name {
        GeneralName::DNSName(name) => format!("DNS:{}", visible(name)),
        GeneralName::URI(uri) => format!("URI:{}", visible(uri)),
        GeneralName::RFC822Name(mail) => format!("email:{}", visible(mail)),
        GeneralName::IPAddress(bytes) => format!("IP:{}", address(bytes)),
        GeneralName::DirectoryName(name) => format!("dirname:{}", distinguished_name(name)),
        GeneralName::RegisteredID(oid) => format!("RID:{}", oid.to_id_string()),
        GeneralName::OtherName(oid, _) => format!("other:{}", oid.to_id_string()),
        // A name whose bytes are no UTF-8; its tag still says what it is (RFC 5280 section 4.2.1.6).
        GeneralName::Invalid(Tag(tag), bytes) => {
            let kind = match tag {
                1 => "email",
                2 => "DNS",
                6 => "URI",
                _ => return None,
            };
            format!("{kind}:{}", visible(&utf8_or_latin1(bytes)))
        }
        GeneralName::X400Address(_) | GeneralName::EDIPartyName(_) => return None,
    })
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        std::net::Ipv4Addr::from(v4).to_string()
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        std::net::Ipv6Addr::from(v6).to_string()
    } else {
        bytes.escape_ascii().to_string()
    }
}

/// What it is signed with. RSA-PSS may be with any hash, which its parameters say (RFC 4055 section 3.1).
fn signature(certificate: &X509Certificate<'_>) -> String {
    const ED25519: Oid<'_> = oid!(1.3.101.112);
    const ED448: Oid<'_> = oid!(1.3.101.113);
    let algorithm = &certificate.signature_algorithm.algorithm;
    if *algorithm == ED25519 {
        "ed25519".to_owned()
    } else if *algorithm == ED448 {
        "ed448".to_owned()
    } else if *algorithm == OID_PKCS1_RSASSAPSS {
        let parameters = certificate.signature_algorithm.parameters.as_ref();
        let parameters = parameters.and_then(|one| RsaSsaPssParams::try_from(one).ok());
        let hash = parameters.map(|one| match one.hash_algorithm_oid().to_id_string().as_str() {
            "1.3.14.3.2.26" => "sha1".to_owned(),
            "2.16.840.1.101.3.4.2.1" => "sha256".to_owned(),
            "2.16.840.1.101.3.4.2.2" => "sha384".to_owned(),
            "2.16.840.1.101.3.4.2.3" => "sha512".to_owned(),
            other => other.to_owned(),
        });
        format!("rsassa-pss-{}", hash.unwrap_or_else(|| "unknown".to_owned()))
    } else {
        let dotted = algorithm.to_id_string();
        // Those of keys whose identifier says it all are signatures' as well.
        let known = oid2sn(algorithm, oid_registry()).ok().or_else(|| algorithm_name(&dotted));
        known.map_or(dotted, str::to_owned)
    }
}

#[cfg(test)]
mod tests;
