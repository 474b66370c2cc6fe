//! What is observed inside a process's TLS library.

use serde::{Deserialize, Serialize};

use super::{Direction, SessionName, Timestamp, hex_bytes};

/// An observation inside a process's TLS library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryEvent {
    /// When.
    pub at: Timestamp,
    /// Process id (thread group id).
    pub pid: u32,
    /// Address of the connection object (`SSL *`, in Go `*tls.Conn`) in that process; 0 where not
    /// known.
    pub ssl: u64,
    /// What was seen.
    pub observation: LibraryObservation,
}

/// What a TLS library showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LibraryObservation {
    /// Bytes of the transcript that may be whole handshake messages: one `EVP_DigestUpdate` of
    /// OpenSSL, one message of other libraries.
    TranscriptUpdate {
        /// Address of the digest context, or of the connection object.
        context: u64,
        /// Which way the bytes go, where the place of the probe tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        /// Length the library hashed; larger than `bytes` where the probe's cap cut it.
        len: u32,
        /// The bytes; hexadecimal in recorded event files.
        #[serde(with = "hex_bytes")]
        bytes: Vec<u8>,
    },
    /// The object became a client's (`SSL_set_connect_state`): what is seen of it from now on
    /// belongs to a new connection, even where an older one had the same address.
    ClientConnectionMade,
    /// The library got the result of verifying the server's chain: `X509_STORE_CTX_get_error` of
    /// OpenSSL, `X509_verify_cert` of BoringSSL, `x509.(*Certificate).Verify` of Go.
    VerifyResult {
        /// An `X509_V_*` code; 0 is `X509_V_OK`, 1 (`X509_V_ERR_UNSPECIFIED`) stands for the errors
        /// of libraries that have other codes.
        error: i32,
        /// libssl itself verified and would have ended the handshake over a bad result: the
        /// connection's verify mode is not `SSL_VERIFY_NONE`, and no callback of the application
        /// may overrule the result. False also where that was not seen.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        enforced: bool,
    },
    /// The application asked for the result itself: `SSL_get_verify_result`, or Go's
    /// `x509.(*Certificate).Verify` outside of `crypto/tls`.
    ApplicationVerifyResult {
        /// An `X509_V_*` code.
        error: i64,
    },
    /// The application checked the host name (`X509_check_host`).
    ApplicationCheckedHost {
        /// 1: matched.
        result: i32,
    },
    /// The application's callback answered BoringSSL, which does as it says.
    VerifyCallback {
        /// `ssl_verify_result_t`: 0 is good, 1 is not, 2 is not yet.
        result: i32,
    },
    /// The client finished, and nothing had asked about the server's certificate.
    NeverVerified,
    /// An alert of this description was received (`ERR_*` with lib 20, reason 1000 + n).
    AlertReceived {
        /// RFC 8446 section 6 description.
        description: u8,
    },
    /// The server gave the client a ticket, of which nothing but this leaves the probe's reader.
    TicketReceived {
        /// What stands for it.
        name: SessionName,
    },
    /// The server gave the client a ticket that was lost, and perhaps more since.
    TicketLost,
    /// Libraries, of whatever process, are not watched from now on, for a while: what they are given in
    /// connections whose handshakes were shown may not be.
    WatchPaused,
    /// The library raised another TLS error (lib 20).
    TlsError {
        /// OpenSSL reason code.
        reason: u32,
    },
}
