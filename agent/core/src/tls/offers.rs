//! What a ClientHello may offer without adding messages of its own to the handshake.
//!
//! Record lengths are read as the messages of RFC 8446 section 2. That holds only if nothing that
//! was offered puts another message in front of the client's Finished: the world is closed. What
//! does (client authentication by key encapsulation, attestation, Channel ID), and what is not
//! known not to (unassigned numbers, private use), opens it; see [`adds_no_message`] and
//! [`is_signature`]. What is known to change the client's flight in a way that is read
//! (`early_data`, `compress_certificate`, `client_certificate_type`, `application_settings`) is in
//! the lists.
//!
//! With Encrypted ClientHello the hello that counts is hidden. Both hellos of every client that
//! is known offer the same extensions, and many clients that use none send a decoy
//! (draft-ietf-tls-esni, "GREASE ECH"), so it does not open the world.

/// Whether an extension number, GREASE aside (RFC 8701), adds no message to a TLS 1.3 handshake
/// before the client's Finished.
///
/// From the IANA registry "TLS ExtensionType Values" (tls-extensiontype-values), with the drafts
/// whose numbers are in use. Not in it: what adds messages (those of TLMSP and EKT), what
/// can carry any meaning (`tls_flags`), reserved and unassigned numbers.
#[must_use]
pub const fn adds_no_message(extension: u16) -> bool {
    is_grease(extension)
        || matches!(
            extension,
            // server_name to password_salt. Of those that add messages (client_certificate_url,
            // user_mapping, client_authz, server_authz) TLS 1.3 knows none.
            0..=31
                | 32 // ticket_pinning, RFC 8672
                | 33 // tls_cert_with_extern_psk, RFC 8773: it goes with a pre-shared key
                | 34 // delegated_credential, RFC 9345
                | 35 // session_ticket
                | 41 // pre_shared_key
                | 42 // early_data
                | 43 // supported_versions
                | 44 // cookie
                | 45 // psk_key_exchange_modes
                | 47 // certificate_authorities
                | 48 // oid_filters
                | 49 // post_handshake_auth
                | 50 // signature_algorithms_cert
                | 51 // key_share
                | 52 // transparency_info, RFC 9162
                | 53 // connection_id, deprecated
                | 54 // connection_id, RFC 9146
                | 55 // external_id_hash, RFC 8844
                | 56 // external_session_id, RFC 8844
                | 57 // quic_transport_parameters
                | 58 // ticket_request, RFC 9149
                | 59 // dnssec_chain, RFC 9102
                | 60 // sequence_number_encryption_algorithms
                | 61 // rrc
                | 13_172 // next_protocol_negotiation: a message up to TLS 1.2 only
                | 17_513 // application_settings, draft-vvv-tls-alps, read by `flights`
                | 17_613 // the same, its newer number
                | 51_764 // trust_anchors, draft-ietf-tls-trust-anchor-ids
                | 64_768 // ech_outer_extensions, draft-ietf-tls-esni
                | 65_037 // encrypted_client_hello, draft-ietf-tls-esni
                | 65_281 // renegotiation_info
                | 65_486 // encrypted_server_name, draft-ietf-tls-esni-00 to -06
        )
}

/// Whether a number in `signature_algorithms`, GREASE aside, is a signature's: who authenticates
/// with it sends a CertificateVerify and nothing else. Drafts put key encapsulation there, which
/// adds messages on either side (draft-celi-wiggers-tls-authkem).
///
/// From the IANA registry "TLS SignatureScheme" (tls-signaturescheme), with the pairs of hash and
/// signature of TLS 1.2 (RFC 5246 section 7.4.1.4.1).
#[must_use]
pub const fn is_signature(scheme: u16) -> bool {
    let [high, low] = scheme.to_be_bytes();
    is_grease(scheme)
        || matches!((high, low), (1..=6, 1..=3)) // md5 to sha512 with rsa, dsa, ecdsa
        || matches!(
            scheme,
            0x0420 | 0x0520 | 0x0620 // rsa_pkcs1_*_legacy, draft-ietf-tls-tls13-pkcs1
                | 0x0704..=0x0707 // eccsi_sha256, iso_ibs1, iso_ibs2, iso_chinese_ibs
                | 0x0708 // sm2sig_sm3, RFC 8998
                | 0x0709..=0x070f // gostr34102012_*, RFC 9367
                | 0x0804..=0x080b // rsa_pss_rsae_*, ed25519, ed448, rsa_pss_pss_*
                | 0x081a..=0x081c // ecdsa_brainpool*tls13_*, RFC 8734
                | 0x0904..=0x0906 // mldsa44, mldsa65, mldsa87
                | 0x0911..=0x091c // slhdsa_*
        )
}

/// `signature_algorithms`, `supported_versions`, `psk_key_exchange_modes`, `key_share`: OpenSSL's
/// order, in which no other library known puts them.
const OPENSSL: [u16; 4] = [13, 43, 45, 51];

/// The last extensions of a ClientHello that were read, in their order.
#[derive(Default)]
pub struct Order([u16; 4]);

impl Order {
    /// Whether the extensions up to this one, the next, show that OpenSSL made the hello. It gives
    /// every message of the handshake a record of its own, and can pad them.
    pub fn is_openssl(&mut self, extension: u16) -> bool {
        let [_, second, third, fourth] = self.0;
        self.0 = [second, third, fourth, extension];
        self.0 == OPENSSL
    }
}

/// Values that clients send to keep servers tolerant, and that nobody may select (RFC 8701).
pub(super) const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_open_the_world() {
        let open = [
            (30_031, "Channel ID, its first number"),
            (30_032, "Channel ID: a message before Finished"),
            (36, "TLMSP"),
            (39, "supported_ekt_ciphers: EKTKey"),
            (40, "reserved"),
            (46, "reserved"),
            (62, "tls_flags"),
            (63, "unassigned"),
            (0x0a1a, "nearly GREASE"),
            (0xfe01, "private use"),
            (0xff77, "private use"),
        ];
        for (number, name) in open {
            assert!(!adds_no_message(number), "{name}");
        }
        assert!(adds_no_message(0x0a0a) && adds_no_message(0xfafa) && !adds_no_message(0x0b0b));
    }

    #[test]
    fn order_tells_openssl() {
        for (name, extensions, openssl) in [
            ("OpenSSL 3.0", &[11, 10, 35, 22, 23, 13, 43, 45, 51][..], true),
            ("OpenSSL 4.0", &[65281, 11, 10, 35, 22, 23, 13, 43, 45, 51, 0], true),
            ("BoringSSL", &[23, 65281, 10, 11, 35, 16, 13, 51, 45, 43, 17513], false),
            ("NSS", &[5, 10, 11, 13, 22, 23, 35, 51, 43, 65281, 45, 28], false),
            ("none", &[], false),
        ] {
            let mut order = Order::default();
            let said = extensions.iter().filter(|number| order.is_openssl(**number)).count();
            assert_eq!(said == 1, openssl, "{name}");
        }
    }

    #[test]
    fn schemes_that_are_none() {
        for scheme in [0x0000, 0x0100, 0x0700, 0x0800, 0x0907, 0x091d, 0xfe00, 0xfea0, 0xffff] {
            assert!(!is_signature(scheme), "{scheme:#06x}");
        }
        for scheme in [0x0201, 0x0403, 0x0602, 0x0807, 0x0904, 0x0911, 0x7a7a] {
            assert!(is_signature(scheme), "{scheme:#06x}");
        }
    }
}
