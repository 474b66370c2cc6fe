//! Certificate messages (RFC 8446 section 4.4.2, RFC 5246 section 7.4.2) and X.509 facts (RFC 5280).

use std::sync::Arc;

use x509_parser::{
    asn1_rs::{Oid, Tag, oid},
    extensions::GeneralName,
    objects::{oid_registry, oid2sn},
    prelude::*,
};

use super::{
    fields::Fields,
    hello::Malformed,
    name::{distinguished_name, utf8_or_latin1, visible},
    public_key::public_key_name,
};
use crate::{collections::HashMap, model::hex, tls::certificate_facts::CertificateFacts};

/// What is kept of the certificates in one Certificate message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The first, which is the end entity's, DER encoded; empty if there is none.
    pub end_entity: Box<[u8]>,
    /// How many there are.
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
        }
        self.length += 1;
        Ok(())
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
    })
}

/// Certificates whose facts are remembered.
const MAX_REMEMBERED: usize = 256;
/// Longest certificate whose facts are remembered, in bytes.
const MAX_REMEMBERED_DER: usize = 4096;

/// Facts of the certificates seen lately: a proxy meets the same few over and over.
#[derive(Debug, Default)]
pub struct CertificateMemory {
    by_der: HashMap<Box<[u8]>, Arc<CertificateFacts>>,
}

impl CertificateMemory {
    /// As [`facts`].
    ///
    /// # Errors
    /// As [`facts`].
    pub fn facts(&mut self, chain: &Chain) -> Result<Arc<CertificateFacts>, Malformed> {
        let der = &chain.end_entity;
        if let Some(known) = self.by_der.get(der) {
            return Ok(if known.chain_length == chain.length {
                known.clone()
            } else {
                CertificateFacts { chain_length: chain.length, ..(**known).clone() }.into()
            });
        }
        let facts = Arc::new(facts(chain)?);
        if der.len() <= MAX_REMEMBERED_DER {
            // The few that matter are back with the next handshakes.
            if self.by_der.len() >= MAX_REMEMBERED {
                self.by_der.clear();
            }
            self.by_der.insert(der.clone(), facts.clone());
        }
        Ok(facts)
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

fn signature(certificate: &X509Certificate<'_>) -> String {
    const ED25519: Oid<'_> = oid!(1.3.101.112);
    const ED448: Oid<'_> = oid!(1.3.101.113);
    let algorithm = &certificate.signature_algorithm.algorithm;
    if *algorithm == ED25519 {
        "ed25519".to_owned()
    } else if *algorithm == ED448 {
        "ed448".to_owned()
    } else {
        oid2sn(algorithm, oid_registry()).map_or_else(|_| algorithm.to_id_string(), str::to_owned)
    }
}

#[cfg(test)]
mod tests;
