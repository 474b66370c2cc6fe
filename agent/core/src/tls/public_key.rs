//! Names of public keys: algorithm and size, or the curve.

use x509_parser::{
    asn1_rs::{Any, FromDer as _, Oid, Tag},
    public_key::{PublicKey, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

/// What a key is, such as `rsa2048`, `rsa-pss2048`, `p256`, `ed25519`, `sm2`; a dotted object identifier
/// where there is no name here.
#[must_use]
pub fn public_key_name(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("rsa{}", bits(rsa.modulus)),
        Ok(PublicKey::EC(point)) => curve_name(key.algorithm.parameters.as_ref(), point.key_size()),
        _ => {
            let algorithm = key.algorithm.algorithm.to_id_string();
            match algorithm_name(&algorithm) {
                Some(RSA_PSS) => RSA_PSS.to_owned() + &rsa_bits(key).unwrap_or_default(),
                name => name.map_or(algorithm, str::to_owned),
            }
        }
    }
}

/// A key of RSA that is for signatures of this kind alone, which is one of RSA's all the same (RFC 4055
/// section 1.2).
const RSA_PSS: &str = "rsa-pss";

fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let (_, rsa) = RSAPublicKey::from_der(&key.subject_public_key.data).ok()?;
    Some(bits(rsa.modulus).to_string())
}

/// Bits of an unsigned number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let Some(first) = number.get(zeros) else { return 0 };
    (number.len() - zeros) * 8 - first.leading_zeros() as usize
}

/// The curve that the key's parameters name (RFC 5480 section 2.1.1). What spells its curve out, or
/// leaves it to someone else, has none: the same size says nothing of the curve.
fn curve_name(parameters: Option<&Any<'_>>, size: usize) -> String {
    let Some(parameters) = parameters else { return format!("ec-unnamed-{size}") };
    match parameters.tag() {
        Tag::Oid => {
            let dotted = Oid::new(parameters.data.into()).to_id_string();
            named_curve(&dotted).map_or_else(|| format!("ec-{dotted}"), str::to_owned)
        }
        Tag::Sequence => format!("ec-explicit-{size}"),
        _ => format!("ec-unnamed-{size}"),
    }
}

/// Curves by their identifiers: SEC 2, RFC 5639, GB/T 32918, ANSSI.
fn named_curve(dotted: &str) -> Option<&'static str> {
    Some(match dotted {
        "1.2.840.10045.3.1.1" => "p192",
        "1.3.132.0.33" => "p224",
        "1.2.840.10045.3.1.7" => "p256",
        "1.3.132.0.34" => "p384",
        "1.3.132.0.35" => "p521",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.1" => "brainpoolP160r1",
        "1.3.36.3.3.2.8.1.1.3" => "brainpoolP192r1",
        "1.3.36.3.3.2.8.1.1.5" => "brainpoolP224r1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.8" => "brainpoolP256t1",
        "1.3.36.3.3.2.8.1.1.9" => "brainpoolP320r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.12" => "brainpoolP384t1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        "1.3.36.3.3.2.8.1.1.14" => "brainpoolP512t1",
        "1.2.156.10197.1.301" => "sm2",
        "1.2.250.1.223.101.256.1" => "frp256v1",
        _ => return None,
    })
}

/// Algorithms whose identifier says it all (RFC 8410, 9881, 9909, 9215, 4055, 3279).
pub(super) fn algorithm_name(dotted: &str) -> Option<&'static str> {
    Some(match dotted {
        "1.2.156.10197.1.301" => "sm2",
        "1.2.840.10040.4.1" => "dsa",
        "1.2.840.113549.1.1.10" => RSA_PSS,
        "1.2.643.2.2.19" => "gost2001",
        "1.2.643.7.1.1.1.1" => "gost2012-256",
        "1.2.643.7.1.1.1.2" => "gost2012-512",
        "1.3.101.110" => "x25519",
        "1.3.101.111" => "x448",
        "1.3.101.112" => "ed25519",
        "1.3.101.113" => "ed448",
        "2.16.840.1.101.3.4.3.17" => "mldsa44",
        "2.16.840.1.101.3.4.3.18" => "mldsa65",
        "2.16.840.1.101.3.4.3.19" => "mldsa87",
        "2.16.840.1.101.3.4.3.20" => "slhdsa-sha2-128s",
        "2.16.840.1.101.3.4.3.21" => "slhdsa-sha2-128f",
        "2.16.840.1.101.3.4.3.22" => "slhdsa-sha2-192s",
        "2.16.840.1.101.3.4.3.23" => "slhdsa-sha2-192f",
        "2.16.840.1.101.3.4.3.24" => "slhdsa-sha2-256s",
        "2.16.840.1.101.3.4.3.25" => "slhdsa-sha2-256f",
        "2.16.840.1.101.3.4.3.26" => "slhdsa-shake-128s",
        "2.16.840.1.101.3.4.3.27" => "slhdsa-shake-128f",
        "2.16.840.1.101.3.4.3.28" => "slhdsa-shake-192s",
        "2.16.840.1.101.3.4.3.29" => "slhdsa-shake-192f",
        "2.16.840.1.101.3.4.3.30" => "slhdsa-shake-256s",
        "2.16.840.1.101.3.4.3.31" => "slhdsa-shake-256f",
        _ => return None,
    })
}
