//! Lengths of TLS 1.3 handshake messages and of the records that carry them.
//!
//! A record's length field is the inner plaintext (content, one byte of content type, zero
//! padding) plus the authentication tag (RFC 8446 section 5.2). Message lengths include the
//! 4-byte handshake header (section 4).

use super::HelloFacts;

/// Largest record length TLS 1.3 permits (RFC 8446 section 5.2).
pub(super) const MAX_RECORD: u16 = (1 << 14) + 256;

/// Largest content of one record (RFC 8446 section 5.1).
pub(super) const MAX_CONTENT: u16 = 1 << 14;

/// Header of a handshake message, and all of an EndOfEarlyData (RFC 8446 sections 4 and 4.5).
pub(super) const MESSAGE_HEADER: u16 = 4;

/// Content of an alert (RFC 8446 section 6).
const ALERT: u16 = 2;

/// A Certificate without entries: header, empty context, empty list (RFC 8446 section 4.4.2).
const EMPTY_CERTIFICATE: u16 = 4 + 1 + 3;

/// A Certificate around one entry: header, empty context, list length, entry length, no extensions.
const CERTIFICATE_AROUND_ENTRY: u16 = 4 + 1 + 3 + 3 + 2;

/// The shortest thing a certificate entry holds: an Ed25519 SubjectPublicKeyInfo, sent where raw
/// public keys were negotiated (RFC 7250, RFC 8410).
const SHORTEST_ENTRY: u16 = 44;

/// A CertificateVerify around its signature: header, algorithm, length (RFC 8446 section 4.4.3).
const VERIFY_AROUND_SIGNATURE: u16 = 4 + 2 + 2;

/// A CertificateRequest with one signature algorithm: header, empty context, extensions length and
/// the mandatory `signature_algorithms` (RFC 8446 section 4.3.2).
const SHORTEST_REQUEST: u16 = 4 + 1 + 2 + 4 + 2 + 2;

/// EncryptedExtensions without extensions (RFC 8446 section 4.3.1).
const SHORTEST_EXTENSIONS: u16 = 4 + 2;

/// Lengths signatures have, as inclusive ranges in bytes.
///
/// ECDSA's DER integers drop leading zeros, so their lengths vary downwards; a deficit of more than
/// four bytes has a probability below 2^-24.
const SIGNATURES: &[(u16, u16)] = &[
    (64, 64),         // Ed25519
    (68, 72),         // ECDSA P-256, SM2
    (100, 104),       // ECDSA P-384
    (114, 114),       // Ed448
    (128, 128),       // RSA 1024
    (134, 139),       // ECDSA P-521
    (192, 192),       // RSA 1536
    (256, 256),       // RSA 2048
    (320, 320),       // RSA 2560
    (384, 384),       // RSA 3072
    (512, 512),       // RSA 4096
    (1024, 1024),     // RSA 8192
    (2048, 2048),     // RSA 16384
    (2420, 2420),     // ML-DSA-44
    (3309, 3309),     // ML-DSA-65
    (4627, 4627),     // ML-DSA-87
    (7856, 7856),     // SLH-DSA-128s
    (16_224, 16_224), // SLH-DSA-192s
];

/// Lengths of signatures that take more than one record: SLH-DSA-128f, -256s, -192f and -256f
/// (FIPS 205, table 2).
const LONG_SIGNATURES: [u32; 4] = [17_088, 29_792, 35_664, 49_856];

/// Lengths of the SubjectPublicKeyInfo a raw public key is sent as, with the lengths of the
/// signatures of such a key; those only that are shorter than certificates.
const RAW_PUBLIC_KEYS: &[(u16, (u16, u16))] = &[
    (44, (64, 64)),    // Ed25519
    (69, (114, 114)),  // Ed448
    (91, (68, 72)),    // ECDSA P-256
    (120, (100, 104)), // ECDSA P-384
    (158, (134, 139)), // ECDSA P-521
    (294, (256, 256)), // RSA 2048
];

/// An X.509 certificate with an Ed25519 or P-256 key and signature and hardly any names, compressed
/// or not, is not shorter.
const SHORTEST_X509: u16 = 180;

/// Zero padding that an implementation adds to every record without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// None: nearly everybody.
    Bare,
    /// 16 zero bytes on every record: SunJSSE.
    Fixed16,
    /// The inner plaintext rounded up to a multiple of 16: Mbed TLS.
    Block16,
}

impl Padding {
    /// Every kind, the most common first.
    pub(super) const ALL: [Self; 3] = [Self::Bare, Self::Fixed16, Self::Block16];
}

/// The two lengths of the cipher suite that all record lengths follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    hash: u16,
    tag: u16,
}

impl Arithmetic {
    pub(super) const fn new(facts: &HelloFacts) -> Self {
        Self { hash: facts.suite.hash(), tag: facts.suite.tag() }
    }

    /// Length field of a record with `content` bytes, which are at most [`MAX_CONTENT`].
    pub(super) const fn record(self, content: u16, padding: Padding) -> u16 {
        let inner = content + 1;
        self.tag
            + match padding {
                Padding::Bare => inner,
                Padding::Fixed16 => inner + 16,
                Padding::Block16 => inner.next_multiple_of(16),
            }
    }

    /// A record with Finished alone (RFC 8446 section 4.4.4).
    pub(super) const fn finished(self, padding: Padding) -> u16 {
        self.record(4 + self.hash, padding)
    }

    /// A record with an empty Certificate alone.
    pub(super) const fn empty_certificate(self, padding: Padding) -> u16 {
        self.record(EMPTY_CERTIFICATE, padding)
    }

    /// A record with an empty Certificate and the Finished after it.
    pub(super) const fn empty_certificate_and_finished(self, padding: Padding) -> u16 {
        self.record(EMPTY_CERTIFICATE + 4 + self.hash, padding)
    }

    /// A record with an alert.
    pub(super) const fn alert(self, padding: Padding) -> u16 {
        self.record(ALERT, padding)
    }

    /// Whether `length` is that of an alert under any padding.
    pub(super) fn may_be_alert(self, length: u16) -> bool {
        Padding::ALL.iter().any(|&padding| length == self.alert(padding))
    }

    /// A record with an empty content: the shortest there is.
    pub(super) const fn shortest(self, padding: Padding) -> u16 {
        self.record(0, padding)
    }

    /// The shortest record with a non-empty, uncompressed Certificate.
    pub(super) const fn shortest_certificate(self) -> u16 {
        self.record(CERTIFICATE_AROUND_ENTRY + SHORTEST_ENTRY, Padding::Bare)
    }

    /// Whether a Certificate record of this length can hold an X.509 certificate.
    pub(super) const fn is_x509_certificate(self, length: u16) -> bool {
        length >= self.record(CERTIFICATE_AROUND_ENTRY + SHORTEST_X509, Padding::Bare)
    }

    /// Whether the records hold a raw public key and a signature by a key of its kind.
    pub(super) fn is_raw_public_key(self, certificate: u16, verify: u16) -> bool {
        let bare = |content| self.record(content, Padding::Bare);
        RAW_PUBLIC_KEYS.iter().any(|&(key, (shortest, longest))| {
            certificate == bare(CERTIFICATE_AROUND_ENTRY + key)
                && bare(VERIFY_AROUND_SIGNATURE + shortest) <= verify
                && verify <= bare(VERIFY_AROUND_SIGNATURE + longest)
        })
    }

    /// The shortest record with a CertificateRequest.
    pub(super) const fn shortest_request(self) -> u16 {
        self.record(SHORTEST_REQUEST, Padding::Bare)
    }

    /// The shortest record with a server's whole flight from EncryptedExtensions to Finished.
    pub(super) const fn shortest_server_flight(self) -> u16 {
        let certificate = CERTIFICATE_AROUND_ENTRY + SHORTEST_ENTRY;
        let verify = VERIFY_AROUND_SIGNATURE + SIGNATURES[0].0;
        self.record(SHORTEST_EXTENSIONS + certificate + verify + 4 + self.hash, Padding::Bare)
    }

    /// The longest record that Finished, or an empty Certificate with it, fills when padded by at
    /// most 255 bytes on top of a stack's own 16. Above it, a first client record needs a
    /// certificate or deliberate padding.
    pub(super) const fn longest_modestly_padded(self) -> u16 {
        self.empty_certificate_and_finished(Padding::Fixed16) + 255
    }

    /// Whether `length` is that of a record with a CertificateVerify alone.
    pub(super) fn is_certificate_verify(self, length: u16, padding: Padding) -> bool {
        SIGNATURES.iter().any(|&(shortest, longest)| {
            let record = |signature| self.record(VERIFY_AROUND_SIGNATURE + signature, padding);
            (record(shortest)..=record(longest)).contains(&length)
                && (padding != Padding::Block16 || self.fills_blocks(length, 16))
        })
    }

    /// A record that is filled to the limit of RFC 8446 section 5.1.
    pub(super) const fn full(self) -> u16 {
        self.record(MAX_CONTENT, Padding::Bare)
    }

    /// Whether this many full records and one more hold a CertificateVerify with a signature that
    /// does not fit one.
    pub(super) fn is_long_certificate_verify(self, full: usize, last: u16) -> bool {
        let content = u32::from(self.inner(last)).saturating_sub(1);
        let full = u32::try_from(full).unwrap_or(u32::MAX);
        let message = full.saturating_mul(MAX_CONTENT.into()).saturating_add(content);
        LONG_SIGNATURES.contains(&message.saturating_sub(VERIFY_AROUND_SIGNATURE.into()))
    }

    /// How many records at the front hold a CertificateVerify alone; `None` if they do not.
    pub(super) fn certificate_verify(self, records: &[u16], padding: Padding) -> Option<usize> {
        let first = *records.first()?;
        if self.is_certificate_verify(first, padding) {
            return Some(1);
        }
        let full = records.iter().take_while(|&&record| record == self.full()).count();
        let is_long = padding == Padding::Bare
            && full > 0
            && self.is_long_certificate_verify(full, *records.get(full)?);
        is_long.then_some(full + 1)
    }

    /// Whether two records may be an empty Certificate, compressed or not, and Finished under the
    /// same padding: at least equally long (in one block each), at most as far apart as bare.
    pub(super) const fn may_be_padded_empty(self, certificate: u16, finished: u16) -> bool {
        let apart = self.finished(Padding::Bare) - self.empty_certificate(Padding::Bare);
        certificate <= finished && finished - certificate <= apart
    }

    /// Whether `length` may be a compressed empty Certificate: 8 bytes around the four zero bytes
    /// of its body (RFC 8879 section 4), which compressors turn into 4 to 20 bytes.
    pub(super) const fn is_compressed_empty_certificate(self, length: u16) -> bool {
        let uncompressed = self.empty_certificate(Padding::Bare);
        uncompressed + 8 <= length && length <= uncompressed + 24
    }

    /// Length of the inner plaintext in a record; 0 where the record is shorter than its tag.
    pub(super) const fn inner(self, length: u16) -> u16 {
        length.saturating_sub(self.tag)
    }

    /// Whether the inner plaintext is a multiple of `block` bytes.
    pub(super) const fn fills_blocks(self, length: u16, block: u16) -> bool {
        self.inner(length).is_multiple_of(block)
    }

    /// Whether a TLS 1.3 record can have this length.
    pub(super) const fn is_possible(self, length: u16) -> bool {
        self.tag < length && length <= MAX_RECORD
    }

    /// Whether `length` is that of a record filled to a limit known to hold for the client.
    pub(super) fn is_full(self, length: u16, facts: &HelloFacts) -> bool {
        [Some(MAX_CONTENT), facts.max_fragment_length, facts.client_fragment]
            .into_iter()
            .flatten()
            .any(|content| length == self.record(content.min(MAX_CONTENT), Padding::Bare))
    }
}
