//! What a cipher suite does not do, by its number.

use tls_parser::{TlsCipherAu, TlsCipherEnc, TlsCipherSuite};

/// Suites of GOST that encrypt nothing and are in no registry of IANA's:
/// `TLS_GOSTR341094_WITH_NULL_GOSTR3411`, `TLS_GOSTR341001_WITH_NULL_GOSTR3411`
/// (draft-chudov-cryptopro-cptls) and OpenSSL's `GOST2012-NULL-GOST12`.
const GOST_NULL: [u16; 3] = [0x0082, 0x0083, 0xff87];

/// Whether a suite is known to encrypt nothing: `TLS_*_WITH_NULL_*`, and those of RFC 9150 in
/// TLS 1.3.
#[must_use]
pub fn encrypts_nothing(cipher: u16) -> bool {
    GOST_NULL.contains(&cipher)
        || TlsCipherSuite::from_id(cipher).is_some_and(|suite| suite.enc == TlsCipherEnc::Null)
}

/// Whether it is known what a suite does: it is one of IANA's ("TLS Cipher Suites"), or one of
/// GOST's or of the drafts of ChaCha20 that are in use.
#[must_use]
pub fn is_known(cipher: u16) -> bool {
    TlsCipherSuite::from_id(cipher).is_some()
        || GOST_NULL.contains(&cipher)
        || matches!(cipher, 0x0080 | 0x0081 | 0xc100..=0xc106 | 0xcc13..=0xcc15 | 0xff85)
}

/// Whether a suite is known to authenticate neither side: `DH_anon` (RFC 5246 section F.1.1.1),
/// `ECDH_anon` (RFC 8422 section 2), and `TLS_NULL_WITH_NULL_NULL`.
#[must_use]
pub fn is_anonymous(cipher: u16) -> bool {
    TlsCipherSuite::from_id(cipher).is_some_and(|suite| suite.au == TlsCipherAu::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_that_do_not_encrypt_or_authenticate() {
        for (cipher, name, clear, anonymous) in [
            (0x0000, "TLS_NULL_WITH_NULL_NULL", true, true),
            (0x0002, "TLS_RSA_WITH_NULL_SHA", true, false),
            (0x003b, "TLS_RSA_WITH_NULL_SHA256", true, false),
            (0x002c, "TLS_PSK_WITH_NULL_SHA", true, false),
            (0x00a7, "TLS_DH_anon_WITH_AES_256_GCM_SHA384", false, true),
            (0xc006, "TLS_ECDHE_ECDSA_WITH_NULL_SHA", true, false),
            (0xc015, "TLS_ECDH_anon_WITH_NULL_SHA", true, true),
            (0xc018, "TLS_ECDH_anon_WITH_AES_128_CBC_SHA", false, true),
            (0xc0b4, "TLS_SHA256_SHA256", true, false),
            (0xc0b5, "TLS_SHA384_SHA384", true, false),
            (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA", false, false),
            (0x008c, "TLS_PSK_WITH_AES_128_CBC_SHA", false, false),
            (0x1301, "TLS_AES_128_GCM_SHA256", false, false),
            (0x1306, "TLS_AEGIS_256_SHA512", false, false),
            (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", false, false),
            (0x0083, "TLS_GOSTR341001_WITH_NULL_GOSTR3411", true, false),
            (0xff87, "GOST2012-NULL-GOST12", true, false),
            (0xc100, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC", false, false),
            (0xff85, "GOST2012-GOST8912-GOST8912", false, false),
            (0xfafa, "not assigned", false, false),
        ] {
            let said = (encrypts_nothing(cipher), is_anonymous(cipher));
            assert_eq!(said, (clear, anonymous), "{name}");
            assert_eq!(is_known(cipher), name != "not assigned", "{name}");
        }
    }
}
