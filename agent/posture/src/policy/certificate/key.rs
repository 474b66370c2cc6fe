//! Whether a private key belongs to a certificate, by its public half.

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::{
        ber::{BerObject, BerObjectContent, Tag},
        der::parse_der,
    },
    pem::Pem,
    public_key::PublicKey,
};

use super::{CertificateError, certificates, parsed};

/// Whether key and certificate belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMatch {
    /// Their public keys are the same.
    Yes,
    /// They are not.
    No,
    /// Not established.
    Unknown(NoAnswer),
}

/// Why the public half of a key could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The key was not to be read.
    NotAsked,
    /// The key file cannot be read, or is not a file (an engine, a variable).
    Unreadable,
    /// There is no private key in the file.
    NoKey,
    /// The key is encrypted.
    Encrypted,
    /// The key file leaves out its public half, which it may (RFC 5915 section 3).
    NoPublicHalf,
    /// A kind of key this check does not know.
    Unsupported,
    /// The key is broken.
    Malformed,
}

/// Whether the first private key in `key_pem` belongs to the first certificate in
/// `certificate_pem`. RSA, EC and Ed25519 in PKCS#8, PKCS#1 and SEC1 form.
///
/// # Errors
/// When the certificate cannot be read.
pub fn key_matches(certificate_pem: &[u8], key_pem: &[u8]) -> Result<KeyMatch, CertificateError> {
    let blocks = certificates(certificate_pem)?;
    let certificates = parsed(&blocks)?;
    Ok(match public_half(key_pem) {
        Ok(public) => compare(&certificates[0], &public),
        Err(reason) => KeyMatch::Unknown(reason),
    })
}

/// The public half of a private key.
enum Public {
    /// Modulus, without leading zeros. The exponent is the same everywhere in practice and
    /// follows from a shared modulus.
    Rsa(Vec<u8>),
    /// The point or value as it stands in a certificate.
    Raw(Vec<u8>),
}

fn compare(certificate: &X509Certificate<'_>, public: &Public) -> KeyMatch {
    let in_certificate = certificate.public_key();
    let same = match (in_certificate.parsed(), public) {
        (Ok(PublicKey::RSA(key)), Public::Rsa(modulus)) => without_zeros(key.modulus) == modulus,
        (Ok(PublicKey::RSA(_)), Public::Raw(_)) | (Ok(_), Public::Rsa(_)) => false,
        (_, Public::Raw(value)) => in_certificate.subject_public_key.data.as_ref() == value,
        (Err(_), Public::Rsa(_)) => return KeyMatch::Unknown(NoAnswer::Unsupported),
    };
    if same { KeyMatch::Yes } else { KeyMatch::No }
}

fn public_half(pem: &[u8]) -> Result<Public, NoAnswer> {
    for block in Pem::iter_from_buffer(pem) {
        // An encrypted PKCS#1 or SEC1 key says so in a header inside of its armour (RFC 1421),
        // which the PEM parser takes for broken base64.
        let Ok(block) = block else {
            let encrypted = contains(pem, b"Proc-Type: 4,ENCRYPTED");
            return Err(if encrypted { NoAnswer::Encrypted } else { NoAnswer::Malformed });
        };
        let der = &block.contents;
        return match block.label.as_str() {
            "PRIVATE KEY" => pkcs8(der),
            "RSA PRIVATE KEY" => pkcs1(der),
            "EC PRIVATE KEY" => sec1(der),
            "ENCRYPTED PRIVATE KEY" => Err(NoAnswer::Encrypted),
            _ => continue,
        };
    }
    Err(NoAnswer::NoKey)
}

/// RFC 5958 `OneAsymmetricKey`.
fn pkcs8(der: &[u8]) -> Result<Public, NoAnswer> {
    let fields = sequence(der)?;
    let [_version, algorithm, key, ..] = fields.as_slice() else {
        return Err(NoAnswer::Malformed);
    };
    let algorithm = algorithm
        .as_sequence()
        .ok()
        .and_then(|fields| fields.first())
        .and_then(|oid| oid.as_oid().ok())
        .ok_or(NoAnswer::Malformed)?;
    let key = key.as_slice().map_err(|_| NoAnswer::Malformed)?;
    match algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => pkcs1(key),
        "1.2.840.10045.2.1" => sec1(key),
        "1.3.101.112" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(|pair| Public::Raw(pair.public_key().as_ref().to_vec()))
            .map_err(|_| NoAnswer::Malformed),
        _ => Err(NoAnswer::Unsupported),
    }
}

/// RFC 8017 appendix A.1.2 `RSAPrivateKey`: version, modulus, ...
fn pkcs1(der: &[u8]) -> Result<Public, NoAnswer> {
    match sequence(der)?.get(1).map(|field| &field.content) {
        Some(BerObjectContent::Integer(modulus)) => {
            Ok(Public::Rsa(without_zeros(modulus).to_vec()))
        }
        _ => Err(NoAnswer::Malformed),
    }
}

/// RFC 5915 `ECPrivateKey`: version, private key, `[0]` curve, `[1]` public key.
fn sec1(der: &[u8]) -> Result<Public, NoAnswer> {
    let fields = sequence(der)?;
    let field = fields
        .iter()
        .find(|field| field.header.is_contextspecific() && field.header.tag() == Tag(1))
        .ok_or(NoAnswer::NoPublicHalf)?;
    let (_, bits) = parse_der(field.as_slice().map_err(|_| NoAnswer::Malformed)?)
        .map_err(|_| NoAnswer::Malformed)?;
    match bits.content {
        BerObjectContent::BitString(_, bits) => Ok(Public::Raw(bits.data.to_vec())),
        _ => Err(NoAnswer::Malformed),
    }
}

fn sequence(der: &[u8]) -> Result<Vec<BerObject<'_>>, NoAnswer> {
    let (_, object) = parse_der(der).map_err(|_| NoAnswer::Malformed)?;
    match object.content {
        BerObjectContent::Sequence(fields) => Ok(fields),
        _ => Err(NoAnswer::Malformed),
    }
}

fn without_zeros(mut integer: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = integer {
        integer = rest;
    }
    integer
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
