//! ClientHello and ServerHello (RFC 8446 sections 4.1.2 and 4.1.3; RFC 5246 section 7.4.1).

use std::sync::Arc;

use tls_parser::{
    SNIType, TlsCipherSuite, TlsExtension, parse_tls_client_hello_extension,
    parse_tls_handshake_client_hello, parse_tls_handshake_server_hello,
    parse_tls_server_hello_extension,
};

use super::{
    fields::Fields,
    group::{self, NamedGroup},
    offered::{self, Offered},
    offers,
    session::{self, Identities},
};
use crate::model::{SessionName, Word, keyed_hash};

pub use super::version::TlsVersion;

/// SHA-256 of "HelloRetryRequest": the random that marks one (RFC 8446 section 4.1.3).
const HELLO_RETRY_REQUEST_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extension numbers of the IANA registry that are read here; all others are skipped.
pub(super) mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const MAX_FRAGMENT_LENGTH: u16 = 1;
    pub const SUPPORTED_GROUPS: u16 = 10;
    pub const APPLICATION_LAYER_PROTOCOL_NEGOTIATION: u16 = 16;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const COMPRESS_CERTIFICATE: u16 = 27;
    pub const RECORD_SIZE_LIMIT: u16 = 28;
    pub const TLS_CERT_WITH_EXTERN_PSK: u16 = 33;
    pub const DELEGATED_CREDENTIAL: u16 = 34;
    pub const SESSION_TICKET: u16 = 35;
    pub const PRE_SHARED_KEY: u16 = 41;
    pub const EARLY_DATA: u16 = 42;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const POST_HANDSHAKE_AUTH: u16 = 49;
    pub const KEY_SHARE: u16 = 51;
    /// draft-vvv-tls-alps, both codepoints in use.
    pub const APPLICATION_SETTINGS: [u16; 2] = [17513, 17613];
}

/// IANA name of a cipher suite, or its number in hex.
#[must_use]
pub fn cipher_name(cipher: u16) -> Word {
    TlsCipherSuite::from_id(cipher)
        .map_or_else(|| format!("0x{cipher:04X}").into(), |suite| suite.name.into())
}

/// The number of a suite by the name that [`cipher_name`] gives it.
#[must_use]
pub fn cipher_number(name: &str) -> Option<u16> {
    let known = TlsCipherSuite::from_name(name).map(|suite| suite.id.0);
    known.or_else(|| u16::from_str_radix(name.strip_prefix("0x")?, 16).ok())
}

/// What is used of a ClientHello. One is kept for each connection whose handshake goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is the presence of one extension")]
pub struct ClientHello {
    /// The client random.
    pub random: [u8; 32],
    /// The session to resume up to TLS 1.2: the ticket in `session_ticket` (RFC 5077), else
    /// `legacy_session_id`.
    pub session: Option<SessionName>,
    /// Offered versions and groups.
    pub offered: Offered,
    /// Server name, as sent.
    pub server_name: Option<Arc<str>>,
    /// Offered application protocols.
    pub alpn: Box<[Arc<str>]>,
    /// `pre_shared_key` is offered.
    pub pre_shared_key: bool,
    /// The identities in it, in order.
    pub identities: Option<Box<Identities>>,
    /// One of the keys offered was not made by a session: its `obfuscated_ticket_age` is 0
    /// (RFC 8446 section 4.2.11), or it goes with certificates (RFC 8773).
    pub external_psk: bool,
    /// `early_data` is offered.
    pub early_data: bool,
    /// `post_handshake_auth` is offered.
    pub post_handshake_auth: bool,
    /// `compress_certificate` is offered (RFC 8879).
    pub compress_certificate: bool,
    /// `application_settings` is offered.
    pub application_settings: bool,
    /// Something is offered that may add messages to the handshake; see [`offers`].
    pub unknown_offer: bool,
    /// OpenSSL made it; see [`offers::Order`].
    pub openssl: bool,
    /// `record_size_limit` (RFC 8449), in bytes.
    pub record_size_limit: Option<u16>,
    /// `max_fragment_length` code (RFC 6066 section 4).
    pub max_fragment_length: Option<u8>,
}

/// Facts of a ServerHello or HelloRetryRequest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Negotiated version: `supported_versions` where present, else `legacy_version`.
    pub version: TlsVersion,
    /// Negotiated cipher suite.
    pub cipher: u16,
    /// The session that begins or goes on (up to TLS 1.2), if it has no ticket.
    pub session_id: Option<SessionName>,
    /// True for a HelloRetryRequest.
    pub hello_retry_request: bool,
    /// Which of the client's pre-shared keys was selected: the session is resumed (TLS 1.3).
    pub pre_shared_key: Option<u16>,
    /// The group of the server's key share (TLS 1.3); of a HelloRetryRequest the one that it asks for.
    pub group: Option<NamedGroup>,
    /// Negotiated application protocol (up to TLS 1.2).
    pub alpn: Option<Arc<str>>,
    /// Keyed hash of the message's body, by which it is told from every other: in TLS 1.3 it holds the
    /// server's key share, and who repeats it cannot go on (RFC 8446 section 4.2.8).
    pub digest: u64,
}

/// The message's bytes contradict its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Splits an extension block into (number, whole extension with its header, content). Stops at
/// the first one that is cut.
pub(super) fn extensions(block: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    let mut fields = Fields::of(block);
    std::iter::from_fn(move || {
        let from = fields.rest();
        let number = fields.u16()?;
        let content = fields.prefixed::<2>()?;
        Some((number, from.get(..4 + content.len())?, content))
    })
}

/// A name as text, escaped as [`slice::escape_ascii`] does it.
pub(super) fn text(bytes: &[u8]) -> Arc<str> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'"' | b'\\');
    match std::str::from_utf8(bytes) {
        Ok(plain) if bytes.iter().all(is_plain) => plain.into(),
        _ => bytes.escape_ascii().to_string().into(),
    }
}

impl ClientHello {
    /// Reads a ClientHello body (without the message header).
    ///
    /// # Errors
    /// If its fixed part is malformed; a malformed extension is left out.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (_, hello) =
            parse_tls_handshake_client_hello(body).map_err(|_| Malformed("ClientHello"))?;
        let mut facts = Self {
            random: hello.random.try_into().map_err(|_| Malformed("ClientHello random"))?,
            session: hello.session_id.and_then(SessionName::of),
            ..Self::default()
        };
        let mut versions = vec![TlsVersion(hello.version.0)];
        let mut groups: &[u8] = &[];
        let mut order = offers::Order::default();
        for (number, whole, content) in extensions(hello.ext.unwrap_or_default()) {
            facts.openssl |= order.is_openssl(number);
            match number {
                extension::SUPPORTED_GROUPS => groups = content,
                extension::SUPPORTED_VERSIONS => {
                    versions = offered::versions(whole).unwrap_or(versions);
                }
                _ => {}
            }
            facts.extension(number, whole, content);
        }
        facts.offered = Offered::of(&versions, group::offered(groups));
        Ok(facts)
    }

    fn extension(&mut self, number: u16, whole: &[u8], content: &[u8]) {
        self.unknown_offer |= !offers::adds_no_message(number);
        match number {
            extension::SIGNATURE_ALGORITHMS | extension::DELEGATED_CREDENTIAL => {
                // Behind the length of the list.
                let (schemes, rest) = content.get(2..).unwrap_or_default().as_chunks::<2>();
                let known = |scheme: &[u8; 2]| offers::is_signature(u16::from_be_bytes(*scheme));
                self.unknown_offer |= !rest.is_empty() || !schemes.iter().all(known);
            }
            extension::PRE_SHARED_KEY => {
                self.pre_shared_key = true;
                self.identities = Some(Identities::of(content).into());
                self.external_psk |= session::ticket_ages(content).any(|age| age == [0; 4]);
            }
            extension::TLS_CERT_WITH_EXTERN_PSK => self.external_psk = true,
            extension::SESSION_TICKET => self.session = SessionName::of(content).or(self.session),
            extension::EARLY_DATA => self.early_data = true,
            extension::POST_HANDSHAKE_AUTH => self.post_handshake_auth = true,
            extension::COMPRESS_CERTIFICATE => self.compress_certificate = true,
            extension::RECORD_SIZE_LIMIT => {
                self.record_size_limit =
                    content.try_into().ok().map(|bytes: [u8; 2]| u16::from_be_bytes(bytes));
            }
            number if extension::APPLICATION_SETTINGS.contains(&number) => {
                self.application_settings = true;
            }
            extension::SERVER_NAME
            | extension::MAX_FRAGMENT_LENGTH
            | extension::APPLICATION_LAYER_PROTOCOL_NEGOTIATION => self.parsed_extension(whole),
            _ => {}
        }
    }

    fn parsed_extension(&mut self, whole: &[u8]) {
        let Ok((_, parsed)) = parse_tls_client_hello_extension(whole) else { return };
        match parsed {
            TlsExtension::SNI(names) => {
                self.server_name = names
                    .iter()
                    .find(|(kind, _)| *kind == SNIType::HostName)
                    .map(|(_, name)| text(name));
            }
            TlsExtension::ALPN(protocols) => {
                self.alpn = protocols.into_iter().map(text).collect();
            }
            TlsExtension::MaxFragmentLength(code) => self.max_fragment_length = Some(code),
            _ => {}
        }
    }

    /// Reads a hello in SSLv2 framing (RFC 5246 appendix E.2), from the two length bytes on.
    /// `Ok(None)` while bytes are missing.
    ///
    /// # Errors
    /// If the bytes are not such a hello.
    pub fn parse_ssl2(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        const ERROR: Malformed = Malformed("SSLv2-style ClientHello");
        let Some(header) = bytes.get(..11) else {
            let plausible = bytes.first().is_none_or(|b| b & 0x80 != 0)
                && bytes.get(2).is_none_or(|kind| *kind == 1)
                && bytes.get(3).is_none_or(|major| *major == 3 || *major == 0);
            return if plausible { Ok(None) } else { Err(ERROR) };
        };
        let length = usize::from(u16::from_be_bytes([header[0] & 0x7f, header[1]]));
        let number = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let (version, specs, session, challenge) = (number(3), number(5), number(7), number(9));
        let known_version = version == 2 || (0x0300..=0x0304).contains(&version);
        if header[0] & 0x80 == 0
            || header[2] != 1
            || !known_version
            || specs % 3 != 0
            || !(8..=32).contains(&challenge)
            || length != 9 + specs + session + challenge
        {
            return Err(ERROR);
        }
        let Some(body) = bytes.get(11..2 + length) else { return Ok(None) };
        let mut random = [0; 32];
        let challenge_bytes = &body[specs + session..];
        random[32 - challenge..].copy_from_slice(challenge_bytes);
        let hello = Self {
            random,
            offered: Offered::of(
                &[TlsVersion(u16::try_from(version).unwrap_or_default())],
                std::iter::empty(),
            ),
            ..Self::default()
        };
        Ok(Some((hello, 2 + length)))
    }
}

/// The place of the identity that a server's `pre_shared_key` selects; where it does not say so, one
/// that no client fills.
fn selected(content: &[u8]) -> u16 {
    content.try_into().map_or(u16::MAX, u16::from_be_bytes)
}

impl ServerHello {
    /// Reads a ServerHello body (without the message header).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        const ERROR: Malformed = Malformed("ServerHello");
        let version = body.get(..2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(ERROR)?;
        if TlsVersion(version).is_draft() {
            return Self::parse_early_draft(TlsVersion(version), body);
        }
        let (_, hello) = parse_tls_handshake_server_hello(body).map_err(|_| ERROR)?;
        let mut facts = Self {
            version: TlsVersion(version),
            cipher: hello.cipher.0,
            session_id: None,
            hello_retry_request: hello.random == HELLO_RETRY_REQUEST_RANDOM,
            pre_shared_key: None,
            group: None,
            alpn: None,
            digest: keyed_hash(body),
        };
        for (number, whole, content) in extensions(hello.ext.unwrap_or_default()) {
            match number {
                extension::SUPPORTED_VERSIONS => {
                    let selected: [u8; 2] = content.try_into().map_err(|_| ERROR)?;
                    facts.version = TlsVersion(u16::from_be_bytes(selected));
                }
                extension::PRE_SHARED_KEY => facts.pre_shared_key = Some(selected(content)),
                extension::KEY_SHARE => facts.group = group::selected(content),
                extension::APPLICATION_LAYER_PROTOCOL_NEGOTIATION => {
                    if let Ok((_, TlsExtension::ALPN(protocols))) =
                        parse_tls_server_hello_extension(whole)
                    {
                        facts.alpn = protocols.first().map(|name| text(name));
                    }
                }
                _ => {}
            }
        }
        if !facts.version.encrypts_handshake() {
            facts.session_id = hello.session_id.and_then(SessionName::of);
        }
        Ok(facts)
    }

    /// Drafts before 22 put the version first and had neither session id nor compression.
    fn parse_early_draft(version: TlsVersion, body: &[u8]) -> Result<Self, Malformed> {
        const ERROR: Malformed = Malformed("ServerHello");
        let mut fields = Fields::of(body);
        let _version_and_random = fields.bytes(2 + 32).ok_or(ERROR)?;
        let cipher = fields.u16().ok_or(ERROR)?;
        let _length_of_extensions = fields.u16();
        let block = fields.rest();
        Ok(Self {
            version,
            cipher,
            session_id: None,
            hello_retry_request: false,
            pre_shared_key: extensions(block)
                .find(|(number, ..)| *number == extension::PRE_SHARED_KEY)
                .map(|(.., content)| selected(content)),
            group: None,
            alpn: None,
            digest: keyed_hash(body),
        })
    }
}
