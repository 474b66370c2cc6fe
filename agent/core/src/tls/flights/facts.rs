//! What the hellos, which are in the clear, say about the flights that follow them.

use thiserror::Error;

use crate::tls::hello::{ClientHello, ServerHello};

/// A cipher suite whose hash and tag lengths are not known, so that no length can be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "cipher suite {0:#06x} is not a known TLS 1.3 suite; its record lengths cannot be predicted"
)]
pub struct UnknownCipherSuite(pub u16);

/// The two lengths of a cipher suite that record lengths follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteLengths {
    hash: u16,
    tag: u16,
}

impl SuiteLengths {
    /// Lengths of a suite of RFC 8446 appendix B.4 or RFC 8998.
    ///
    /// # Errors
    /// When the suite is not one of these.
    pub const fn for_cipher(cipher_suite: u16) -> Result<Self, UnknownCipherSuite> {
        let (hash, tag) = match cipher_suite {
            0x1301 | 0x1303 | 0x1304 | 0x00C6 | 0x00C7 => (32, 16),
            0x1302 => (48, 16),
            0x1305 => (32, 8),
            _ => return Err(UnknownCipherSuite(cipher_suite)),
        };
        Ok(Self { hash, tag })
    }

    /// Output length of the hash in bytes: the length of a Finished body.
    #[must_use]
    pub const fn hash(self) -> u16 {
        self.hash
    }

    /// Length of the authentication tag in bytes.
    #[must_use]
    pub const fn tag(self) -> u16 {
        self.tag
    }
}

/// Facts of the ClientHello and ServerHello that decide how the encrypted flights are read.
///
/// Start from [`HelloFacts::for_cipher`] and set what the hellos carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension that is there or not")]
pub struct HelloFacts {
    /// ServerHello: lengths of the selected cipher suite.
    pub suite: SuiteLengths,
    /// ClientHello: `pre_shared_key` (41).
    pub psk_offered: bool,
    /// ServerHello: `pre_shared_key` (41).
    pub psk_selected: bool,
    /// ClientHello: `early_data` (42). After a HelloRetryRequest: in the first ClientHello.
    pub early_data_offered: bool,
    /// A HelloRetryRequest came before the ServerHello.
    pub hello_retry_request: bool,
    /// ClientHello: `post_handshake_auth` (49): the server may ask after the handshake.
    pub post_handshake_auth_offered: bool,
    /// ClientHello: value of `record_size_limit` (28). It permits the server to answer, encrypted,
    /// with a limit of its own, which is at least 64 (RFC 8449 section 4).
    pub record_size_limit: Option<u16>,
    /// ClientHello: `max_fragment_length` (1) as bytes: 512 to 4096 (RFC 6066 section 4).
    pub max_fragment_length: Option<u16>,
    /// ClientHello: `compress_certificate` (27).
    pub certificate_compression_offered: bool,
    /// ClientHello: `application_settings` (17513 or 17613), which lets the client send an
    /// EncryptedExtensions of its own before its flight.
    pub application_settings_offered: bool,
    /// ClientHello: something that may add messages before the client's Finished; see
    /// [`offers`](crate::tls::offers).
    pub unknown_offer: bool,
    /// ClientHello: OpenSSL's, which gives every message a record of its own, and can pad those of
    /// the handshake alone; see [`offers::Order`](crate::tls::offers::Order).
    pub openssl: bool,
    /// Length of the largest record that carried the ClientHello, where it took more than one:
    /// the client's own fragment limit.
    pub client_fragment: Option<u16>,
}

impl HelloFacts {
    /// Facts of hellos that selected this cipher suite and offered no extension listed here.
    ///
    /// # Errors
    /// When the suite is none that [`SuiteLengths::for_cipher`] knows.
    pub const fn for_cipher(cipher_suite: u16) -> Result<Self, UnknownCipherSuite> {
        let suite = match SuiteLengths::for_cipher(cipher_suite) {
            Ok(suite) => suite,
            Err(unknown) => return Err(unknown),
        };
        Ok(Self {
            suite,
            psk_offered: false,
            psk_selected: false,
            early_data_offered: false,
            hello_retry_request: false,
            post_handshake_auth_offered: false,
            record_size_limit: None,
            max_fragment_length: None,
            certificate_compression_offered: false,
            application_settings_offered: false,
            unknown_offer: false,
            openssl: false,
            client_fragment: None,
        })
    }

    /// What two hellos say by themselves; early data of an earlier ClientHello, a
    /// HelloRetryRequest and the records they came in are to be added.
    ///
    /// # Errors
    /// As [`HelloFacts::for_cipher`].
    pub fn of_hellos(
        client: &ClientHello,
        server: &ServerHello,
    ) -> Result<Self, UnknownCipherSuite> {
        // RFC 6066 section 4: code n stands for 2^(8+n) bytes.
        let fragment = |code| 1_u16.checked_shl(8 + u32::from(code));
        Ok(Self {
            psk_offered: client.pre_shared_key,
            psk_selected: server.pre_shared_key.is_some(),
            early_data_offered: client.early_data,
            post_handshake_auth_offered: client.post_handshake_auth,
            record_size_limit: client.record_size_limit,
            max_fragment_length: client.max_fragment_length.and_then(fragment),
            certificate_compression_offered: client.compress_certificate,
            application_settings_offered: client.application_settings,
            unknown_offer: client.unknown_offer,
            openssl: client.openssl,
            ..Self::for_cipher(server.cipher)?
        })
    }

    /// Notes the lengths of the records that carried one ClientHello message.
    #[must_use]
    pub fn with_client_hello_records(mut self, lengths: &[u16]) -> Self {
        if lengths.len() > 1 {
            self.client_fragment = lengths.iter().copied().max();
        }
        self
    }

    /// Whether early data that the server refused may still arrive among the client's records.
    ///
    /// After a HelloRetryRequest it may not: the client stops early data before its second
    /// ClientHello (RFC 8446 section 4.2.10).
    pub(super) const fn early_data_rejected(&self) -> bool {
        self.early_data_offered && !self.psk_selected && !self.hello_retry_request
    }
}
