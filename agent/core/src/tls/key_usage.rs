//! What the key of a certificate may be used for (RFC 5280 sections 4.2.1.3 and 4.2.1.12).

use x509_parser::certificate::X509Certificate;

use crate::vocabulary;

vocabulary! {
    /// One use that `keyUsage` allows.
    KeyUse {
        /// `digitalSignature`: what every handshake of TLS 1.3 is signed with.
        DigitalSignature => "digital_signature",
        /// `nonRepudiation`, which is called `contentCommitment` by now.
        ContentCommitment => "content_commitment",
        /// `keyEncipherment`: key transport by RSA.
        KeyEncipherment => "key_encipherment",
        /// `dataEncipherment`.
        DataEncipherment => "data_encipherment",
        /// `keyAgreement`.
        KeyAgreement => "key_agreement",
        /// `keyCertSign`: it may sign certificates.
        KeyCertSign => "key_cert_sign",
        /// `cRLSign`: it may sign revocation lists.
        CrlSign => "crl_sign",
        /// `encipherOnly`.
        EncipherOnly => "encipher_only",
        /// `decipherOnly`.
        DecipherOnly => "decipher_only",
        /// The extension is there and cannot be read.
        Unreadable => "unreadable",
    }
}

vocabulary! {
    /// One purpose that `extKeyUsage` allows.
    ExtendedKeyUse {
        /// `anyExtendedKeyUsage`.
        Any => "any",
        /// `serverAuth`.
        ServerAuth => "server_auth",
        /// `clientAuth`.
        ClientAuth => "client_auth",
        /// `codeSigning`.
        CodeSigning => "code_signing",
        /// `emailProtection`.
        EmailProtection => "email_protection",
        /// `timeStamping`.
        TimeStamping => "time_stamping",
        /// `OCSPSigning`.
        OcspSigning => "ocsp_signing",
        /// Any number of purposes that have no word here.
        Other => "other",
        /// The extension is there and cannot be read.
        Unreadable => "unreadable",
    }
}

/// What `keyUsage` allows; `None` where the certificate does not say, which allows everything.
#[must_use]
pub fn key_usage(certificate: &X509Certificate<'_>) -> Option<Box<[KeyUse]>> {
    let usage = match certificate.key_usage() {
        Ok(None) => return None,
        Ok(Some(usage)) => usage.value,
        Err(_) => return Some([KeyUse::Unreadable].into()),
    };
    let bits = KeyUse::ALL.iter().take(9).enumerate();
    Some(bits.filter(|(bit, _)| usage.flags >> bit & 1 == 1).map(|(_, word)| *word).collect())
}

/// What `extKeyUsage` allows; `None` where the certificate does not say, which allows everything.
#[must_use]
pub fn extended_key_usage(certificate: &X509Certificate<'_>) -> Option<Box<[ExtendedKeyUse]>> {
    let usage = match certificate.extended_key_usage() {
        Ok(None) => return None,
        Ok(Some(usage)) => usage.value,
        Err(_) => return Some([ExtendedKeyUse::Unreadable].into()),
    };
    let words = [
        (usage.any, ExtendedKeyUse::Any),
        (usage.server_auth, ExtendedKeyUse::ServerAuth),
        (usage.client_auth, ExtendedKeyUse::ClientAuth),
        (usage.code_signing, ExtendedKeyUse::CodeSigning),
        (usage.email_protection, ExtendedKeyUse::EmailProtection),
        (usage.time_stamping, ExtendedKeyUse::TimeStamping),
        (usage.ocsp_signing, ExtendedKeyUse::OcspSigning),
        (!usage.other.is_empty(), ExtendedKeyUse::Other),
    ];
    Some(words.into_iter().filter(|(allowed, _)| *allowed).map(|(_, word)| word).collect())
}
