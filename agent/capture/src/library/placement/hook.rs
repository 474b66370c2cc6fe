//! What probes observe.

use hopsight_abi::{Part, Stack};
use hopsight_core::vocabulary;

vocabulary! {
    /// What a probe observes; one kernel program each.
    Hook {
        /// `SSL_set_connect_state` entered: the connection object is a client.
        ConnectState => "connect_state",
        /// `SSL_set_accept_state` entered: the connection object is a server.
        AcceptState => "accept_state",
        /// libssl calls `EVP_DigestUpdate` to add handshake messages to the transcript.
        Transcript => "transcript",
        /// libssl got the result of chain verification from `X509_STORE_CTX_get_error`.
        VerifyResult => "verify_result",
        /// libssl calls `ERR_vset_error(library, reason, ...)` (OpenSSL 3).
        ErrorRaised => "error_raised",
        /// libssl calls `ERR_put_error(library, function, reason, ...)` (OpenSSL 1.1).
        ErrorPut => "error_put",
        /// The proxy calls `SSL_get_verify_result(connection)`.
        ResultAsked => "result_asked",
        /// The proxy got the answer of `SSL_get_verify_result`.
        ResultGot => "result_got",
        /// The proxy got the answer of `X509_check_host`.
        HostChecked => "host_checked",
        /// libssl calls `EVP_Digest(ticket, length, ...)` for the session of a ticket that it got.
        Ticket => "ticket",
        /// OpenSSL inside a program does so.
        TicketInside => "ticket_inside",
        /// OpenSSL inside a program enters `ssl3_finish_mac(connection, message, length)`.
        FinishMac => "finish_mac",
        /// rustls calls `update(context, message)` of its hash.
        RustlsUpdate => "rustls_update",
        /// `crypto/tls` calls `(*Conn).writeRecordLocked` with a handshake message.
        GoSent => "go_sent",
        /// `crypto/tls` calls `(*Conn).unmarshalHandshakeMessage`.
        GoReceived => "go_received",
        /// `crypto/tls` up to Go 1.20 calls `unmarshal` of a handshake message.
        GoUnmarshal => "go_unmarshal",
        /// `crypto/tls` got the answer of `x509.(*Certificate).Verify`.
        GoVerified => "go_verified",
        /// Something else in a Go program got that answer.
        GoAppVerified => "go_app_verified",
        /// BoringSSL calls `ssl_do_msg_callback` with a handshake message.
        BoringMessage => "boring_message",
        /// BoringSSL calls `ssl_do_msg_callback` with an alert.
        BoringAlert => "boring_alert",
        /// `X509_verify_cert` has answered.
        BoringChain => "boring_chain",
        /// The application's verify callback has answered BoringSSL.
        BoringCallback => "boring_callback",
    }
}

impl Hook {
    /// Whose misfires it is counted among.
    #[must_use]
    pub const fn part(self) -> Part {
        match self {
            Self::ResultAsked | Self::ResultGot | Self::HostChecked => Part::Application,
            _ => Part::Library(self.stack()),
        }
    }

    /// Whose probe it is.
    #[must_use]
    pub const fn stack(self) -> Stack {
        match self {
            Self::FinishMac | Self::TicketInside => Stack::OpenSslInside,
            Self::RustlsUpdate => Stack::Rustls,
            Self::GoSent
            | Self::GoReceived
            | Self::GoUnmarshal
            | Self::GoVerified
            | Self::GoAppVerified => Stack::Go,
            Self::BoringMessage | Self::BoringAlert | Self::BoringChain | Self::BoringCallback => {
                Stack::BoringSsl
            }
            _ => Stack::OpenSsl,
        }
    }

    /// Whether it shows the tickets that clients get: a message among others, but for OpenSSL.
    #[must_use]
    pub const fn shows_tickets(self) -> bool {
        matches!(self, Self::Ticket | Self::TicketInside | Self::GoReceived | Self::BoringMessage)
    }

    /// Whether it shows handshake messages.
    #[must_use]
    pub const fn shows_messages(self) -> bool {
        matches!(
            self,
            Self::Transcript
                | Self::FinishMac
                | Self::RustlsUpdate
                | Self::GoSent
                | Self::GoReceived
                | Self::GoUnmarshal
                | Self::BoringMessage
        )
    }
}
