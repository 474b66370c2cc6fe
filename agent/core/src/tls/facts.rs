//! What the handshake messages say, wherever they were read: on the wire or in the library.

use std::sync::Arc;

use super::{
    authorities::Authorities,
    certificate::{self, Chain},
    encrypted_extensions::{accepts_early_data, encrypted_extensions_alpn},
    group::NamedGroup,
    hello::{ClientHello, Malformed, ServerHello, TlsVersion},
    key_exchange::ServerKeyExchange,
    message::handshake_type,
    scheme::{SignatureScheme, of_signature},
    session,
    status::{self, Status},
};
use crate::model::{ClientAuth, Direction, SessionName};

/// A client's Certificate message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It was there and empty.
    Empty,
    /// It carried certificates, end entity first.
    Chain(Box<Chain>),
    /// It was compressed (RFC 8879): not empty, and not read.
    Compressed,
}

/// What messages say that not every handshake has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The ticket in a NewSessionTicket in the clear (up to TLS 1.2).
    pub session_ticket: Option<SessionName>,
    /// The group that a HelloRetryRequest asked for.
    pub retried_group: Option<NamedGroup>,
    /// The server's part of the key exchange (up to TLS 1.2).
    pub server_key_exchange: Option<ServerKeyExchange>,
    /// The schemes of both CertificateVerify, by [`Direction::index`] of who sent it.
    pub signatures: [Option<SignatureScheme>; 2],
    /// The CAs that the server names in its CertificateRequest.
    pub authorities: Option<Arc<Authorities>>,
    /// What came along with the server's certificate.
    pub status: Status,
}

/// Facts of one handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is the presence of one message")]
pub struct HandshakeFacts {
    /// The (last) ClientHello.
    pub client_hello: Option<ClientHello>,
    /// A HelloRetryRequest was sent.
    pub hello_retry_request: bool,
    /// The ServerHello.
    pub server_hello: Option<ServerHello>,
    /// Application protocol from EncryptedExtensions.
    pub encrypted_alpn: Option<Arc<str>>,
    /// EncryptedExtensions was seen.
    pub encrypted_extensions: bool,
    /// 0-RTT data was accepted in it.
    pub early_data_accepted: bool,
    /// The server's certificates.
    pub server_certificate: Option<Box<Chain>>,
    /// CertificateRequest was seen.
    pub certificate_request: bool,
    /// ServerHelloDone was seen: the server's first flight is complete (up to TLS 1.2).
    pub server_hello_done: bool,
    /// The server's CertificateVerify was seen (TLS 1.3).
    pub server_certificate_verify: bool,
    /// The client's Certificate message.
    pub client_certificate: Option<ClientCertificate>,
    /// ClientKeyExchange was seen (up to TLS 1.2).
    pub client_key_exchange: bool,
    /// The client's CertificateVerify was seen: possession of the key is proven to the server.
    pub client_certificate_verify: bool,
    /// What is not said in every handshake. Boxed: most connections that are waited for have none.
    pub said: Option<Box<Said>>,
    /// Finished in the clear, by [`Direction::index`] (only the library shows it so).
    pub finished: [bool; 2],
}

impl HandshakeFacts {
    /// Takes in one message that `sender` sent.
    ///
    /// # Errors
    /// If its body contradicts its type.
    pub fn message(&mut self, sender: Direction, kind: u8, body: &[u8]) -> Result<(), Malformed> {
        match (sender, kind) {
            (Direction::ToServer, handshake_type::CLIENT_HELLO) => {
                self.client_hello = Some(ClientHello::parse(body)?);
            }
            (Direction::ToClient, handshake_type::SERVER_HELLO) => {
                let hello = ServerHello::parse(body)?;
                if self.server_hello.is_some() {
                    return Err(Malformed("second ServerHello"));
                }
                if hello.hello_retry_request {
                    self.hello_retry_request = true;
                    self.said.get_or_insert_default().retried_group = hello.group;
                } else {
                    if !hello.version.encrypts_handshake() {
                        self.note_timestamps(status::timestamps_of_server_hello(body));
                    }
                    self.server_hello = Some(hello);
                }
            }
            (Direction::ToClient, handshake_type::HELLO_RETRY_REQUEST_DRAFT) => {
                self.hello_retry_request = true;
            }
            (Direction::ToClient, handshake_type::NEW_SESSION_TICKET) => {
                self.said.get_or_insert_default().session_ticket = session::clear_ticket(body);
            }
            (Direction::ToClient, handshake_type::ENCRYPTED_EXTENSIONS) => {
                self.encrypted_extensions = true;
                self.encrypted_alpn = encrypted_extensions_alpn(body);
                self.early_data_accepted = accepts_early_data(body);
            }
            (Direction::ToClient, handshake_type::CERTIFICATE) => {
                self.server_certificate = Some(self.chain(body)?.into());
                if self.version().is_some_and(TlsVersion::encrypts_handshake) {
                    let Status { staple, timestamps } = status::of_certificate_13(body);
                    self.note_staple(staple);
                    self.note_timestamps(timestamps);
                }
            }
            (Direction::ToClient, handshake_type::CERTIFICATE_STATUS) => {
                self.note_staple(status::staple(body));
            }
            (Direction::ToClient, handshake_type::SERVER_KEY_EXCHANGE) => {
                let hello = self.server_hello.as_ref();
                let sent = hello.and_then(|hello| ServerKeyExchange::parse(hello, body));
                self.said.get_or_insert_default().server_key_exchange = sent;
            }
            (Direction::ToClient, handshake_type::CERTIFICATE_REQUEST) => {
                self.certificate_request = true;
                let named =
                    self.version().and_then(|version| Authorities::of_request(version, body));
                // A later one is not of this handshake (RFC 8446 section 4.6.2).
                if let Some(named) = named {
                    self.said.get_or_insert_default().authorities.get_or_insert(named);
                }
            }
            (Direction::ToClient, handshake_type::SERVER_HELLO_DONE) => {
                self.server_hello_done = true;
            }
            (Direction::ToClient, handshake_type::CERTIFICATE_VERIFY) => {
                self.server_certificate_verify = true;
                self.signed(sender, body);
            }
            (Direction::ToServer, handshake_type::CERTIFICATE) => {
                let chain = self.chain(body)?;
                self.client_certificate = Some(if chain.length == 0 {
                    ClientCertificate::Empty
                } else {
                    ClientCertificate::Chain(chain.into())
                });
            }
            (Direction::ToServer, handshake_type::COMPRESSED_CERTIFICATE) => {
                self.client_certificate = Some(ClientCertificate::Compressed);
            }
            (Direction::ToServer, handshake_type::CLIENT_KEY_EXCHANGE) => {
                self.client_key_exchange = true;
            }
            (Direction::ToServer, handshake_type::CERTIFICATE_VERIFY) => {
                self.client_certificate_verify = true;
                self.signed(sender, body);
            }
            (sender, handshake_type::FINISHED) => self.finished[sender.index()] = true,
            _ => {}
        }
        Ok(())
    }

    fn chain(&self, body: &[u8]) -> Result<Chain, Malformed> {
        if self.version().is_some_and(TlsVersion::encrypts_handshake) {
            certificate::parse_chain_13(body)
        } else {
            certificate::parse_chain(body)
        }
    }

    fn note_staple(&mut self, staple: Option<Arc<[u8]>>) {
        if staple.is_some() {
            self.said.get_or_insert_default().status.staple = staple;
        }
    }

    fn note_timestamps(&mut self, count: u16) {
        if count > 0 {
            self.said.get_or_insert_default().status.timestamps = count;
        }
    }

    /// Notes what a CertificateVerify of this side was signed with.
    fn signed(&mut self, sender: Direction, body: &[u8]) {
        let scheme = self.version().and_then(|version| of_signature(version, body));
        self.said.get_or_insert_default().signatures[sender.index()] = scheme;
    }

    /// What was said that not every handshake has.
    #[must_use]
    pub fn said(&self) -> Said {
        self.said.as_deref().cloned().unwrap_or_default()
    }

    /// The negotiated version, once the ServerHello was seen.
    #[must_use]
    pub fn version(&self) -> Option<TlsVersion> {
        self.server_hello.as_ref().map(|hello| hello.version)
    }

    /// The negotiated application protocol, as far as it is visible.
    #[must_use]
    pub fn alpn(&self) -> Option<&Arc<str>> {
        let clear = self.server_hello.as_ref().and_then(|hello| hello.alpn.as_ref());
        clear.or(self.encrypted_alpn.as_ref())
    }

    /// What the client has done by now, up to TLS 1.2, wherever the handshake stopped: messages in
    /// clear come in a fixed order (RFC 5246 section 7.3), so each says what will not come any more.
    #[must_use]
    pub const fn client_auth_so_far(&self) -> ClientAuth {
        let answered = self.client_key_exchange || self.client_certificate.is_some();
        let decided = if self.certificate_request {
            answered
        } else {
            self.server_hello_done || self.client_key_exchange
        };
        if decided { self.client_auth() } else { ClientAuth::Unknown }
    }

    /// What the client did, given that its whole flight was seen.
    ///
    /// A certificate without CertificateVerify proves nothing: `unknown`. So does a compressed
    /// one, whose content may be an empty list.
    #[must_use]
    pub const fn client_auth(&self) -> ClientAuth {
        if !self.certificate_request {
            // A client that sends a Certificate was asked for one, and the request was not seen.
            return match self.client_certificate {
                None => ClientAuth::NotRequested,
                Some(_) => ClientAuth::Unknown,
            };
        }
        match (&self.client_certificate, self.client_certificate_verify) {
            (None | Some(ClientCertificate::Empty), false) => ClientAuth::RequestedNotPresented,
            (Some(ClientCertificate::Chain(_) | ClientCertificate::Compressed), true) => {
                ClientAuth::Presented
            }
            _ => ClientAuth::Unknown,
        }
    }
}
