//! Signature schemes, by the numbers of the IANA registry "TLS SignatureScheme".

use super::{fields::Fields, hello::TlsVersion};
use crate::model::Word;

/// A signature scheme by its number: in TLS 1.2 a hash and a kind of signature (RFC 5246 section
/// 7.4.1.4.1), which the registry has in the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureScheme(pub u16);

impl SignatureScheme {
    /// Its name in the registry; pairs of hash and signature that TLS 1.3 does not know are called
    /// like those it does, and what has no name by its number in hex.
    #[must_use]
    pub fn name(self) -> Word {
        registered(self.0).map_or_else(|| self.pair(), Word::Borrowed)
    }

    fn pair(self) -> Word {
        let [hash, signature] = self.0.to_be_bytes();
        let hash = match hash {
            1 => "md5",
            2 => "sha1",
            3 => "sha224",
            4 => "sha256",
            5 => "sha384",
            6 => "sha512",
            _ => "",
        };
        let signature = match signature {
            1 => "rsa_pkcs1",
            2 => "dsa",
            3 => "ecdsa",
            _ => "",
        };
        if hash.is_empty() || signature.is_empty() {
            return format!("0x{:04X}", self.0).into();
        }
        format!("{signature}_{hash}").into()
    }
}

/// The scheme at the front of a CertificateVerify body, or of the signature in a ServerKeyExchange;
/// `None` up to TLS 1.1, where neither says it (RFC 4346 sections 7.4.3 and 7.4.8).
#[must_use]
pub fn of_signature(version: TlsVersion, bytes: &[u8]) -> Option<SignatureScheme> {
    let says_so = version == TlsVersion::TLS12 || version.encrypts_handshake();
    says_so.then(|| Fields::of(bytes).u16().map(SignatureScheme))?
}

/// From "TLS SignatureScheme".
#[rustfmt::skip]
const fn registered(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0201 => "rsa_pkcs1_sha1", 0x0203 => "ecdsa_sha1",
        0x0401 => "rsa_pkcs1_sha256", 0x0501 => "rsa_pkcs1_sha384", 0x0601 => "rsa_pkcs1_sha512",
        0x0403 => "ecdsa_secp256r1_sha256", 0x0503 => "ecdsa_secp384r1_sha384",
        0x0603 => "ecdsa_secp521r1_sha512",
        0x0420 => "rsa_pkcs1_sha256_legacy", 0x0520 => "rsa_pkcs1_sha384_legacy",
        0x0620 => "rsa_pkcs1_sha512_legacy",
        0x0704 => "eccsi_sha256", 0x0705 => "iso_ibs1", 0x0706 => "iso_ibs2",
        0x0707 => "iso_chinese_ibs", 0x0708 => "sm2sig_sm3",
        0x0709 => "gostr34102012_256a", 0x070a => "gostr34102012_256b",
        0x070b => "gostr34102012_256c", 0x070c => "gostr34102012_256d",
        0x070d => "gostr34102012_512a", 0x070e => "gostr34102012_512b",
        0x070f => "gostr34102012_512c",
        0x0804 => "rsa_pss_rsae_sha256", 0x0805 => "rsa_pss_rsae_sha384",
        0x0806 => "rsa_pss_rsae_sha512", 0x0807 => "ed25519", 0x0808 => "ed448",
        0x0809 => "rsa_pss_pss_sha256", 0x080a => "rsa_pss_pss_sha384",
        0x080b => "rsa_pss_pss_sha512",
        0x081a => "ecdsa_brainpoolP256r1tls13_sha256",
        0x081b => "ecdsa_brainpoolP384r1tls13_sha384",
        0x081c => "ecdsa_brainpoolP512r1tls13_sha512",
        0x0904 => "mldsa44", 0x0905 => "mldsa65", 0x0906 => "mldsa87",
        0x0911 => "slhdsa_sha2_128s", 0x0912 => "slhdsa_sha2_128f",
        0x0913 => "slhdsa_sha2_192s", 0x0914 => "slhdsa_sha2_192f",
        0x0915 => "slhdsa_sha2_256s", 0x0916 => "slhdsa_sha2_256f",
        0x0917 => "slhdsa_shake_128s", 0x0918 => "slhdsa_shake_128f",
        0x0919 => "slhdsa_shake_192s", 0x091a => "slhdsa_shake_192f",
        0x091b => "slhdsa_shake_256s", 0x091c => "slhdsa_shake_256f",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_called_by_their_registered_names() {
        for (number, name) in [
            (0x0403, "ecdsa_secp256r1_sha256"),
            (0x0804, "rsa_pss_rsae_sha256"),
            (0x0807, "ed25519"),
            (0x0905, "mldsa65"),
            (0x0301, "rsa_pkcs1_sha224"),
            (0x0303, "ecdsa_sha224"),
            (0x0402, "dsa_sha256"),
            (0x0707, "iso_chinese_ibs"),
            (0xfe01, "0xFE01"),
        ] {
            assert_eq!(SignatureScheme(number).name(), name, "{number:#06x}");
        }
    }

    #[test]
    fn a_scheme_is_said_from_tls_1_2_on() {
        for (version, expected) in [
            (0x0304, Some(SignatureScheme(0x0403))),
            (0x0303, Some(SignatureScheme(0x0403))),
            (0x0302, None),
            (0x0300, None),
        ] {
            assert_eq!(of_signature(TlsVersion(version), &[4, 3, 0, 1, 7]), expected);
        }
        assert_eq!(of_signature(TlsVersion::TLS13, &[4]), None);
    }
}
