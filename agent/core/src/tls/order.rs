//! The order in which handshake messages may come (RFC 8446 section 2 and appendix A, RFC 5246
//! section 7.3). What breaks it was not seen as it was: a message is missing, or what was taken for
//! a transcript is none.

use super::{
    facts::{ClientCertificate, HandshakeFacts},
    message::handshake_type as message,
};
use crate::model::Direction::{self, ToClient, ToServer};

/// Whether a message of this type and sender may follow what `facts` were taken from.
#[must_use]
pub fn may_follow(facts: &HandshakeFacts, sender: Direction, kind: u8) -> bool {
    let Some(version) = facts.version() else {
        return match sender {
            ToServer => matches!(kind, message::CLIENT_HELLO | message::MESSAGE_HASH),
            // OpenSSL's own synthetic message stands in the place of the first ClientHello.
            ToClient => matches!(
                kind,
                message::MESSAGE_HASH
                    | message::HELLO_REQUEST
                    | message::SERVER_HELLO
                    | message::HELLO_RETRY_REQUEST_DRAFT
            ),
        };
    };
    if version.encrypts_handshake() {
        may_follow_encrypted(facts, sender, kind)
    } else {
        may_follow_clear(facts, sender, kind)
    }
}

/// TLS 1.3.
fn may_follow_encrypted(facts: &HandshakeFacts, sender: Direction, kind: u8) -> bool {
    let server_done = facts.finished[ToClient.index()];
    let client_done = facts.finished[ToServer.index()];
    let resumed = facts.server_hello.as_ref().is_some_and(|hello| hello.pre_shared_key.is_some());
    let in_server_flight = facts.encrypted_extensions && !server_done;
    match (sender, kind) {
        (ToClient, message::ENCRYPTED_EXTENSIONS) => !facts.encrypted_extensions,
        (
            ToClient,
            message::CERTIFICATE_REQUEST | message::CERTIFICATE | message::COMPRESSED_CERTIFICATE,
        ) => {
            in_server_flight
                && facts.server_certificate.is_none()
                && !facts.server_certificate_verify
        }
        (ToClient, message::CERTIFICATE_VERIFY) => {
            in_server_flight && !facts.server_certificate_verify
        }
        (ToClient, message::FINISHED) => {
            in_server_flight && (resumed || facts.server_certificate_verify)
        }
        (ToServer, message::END_OF_EARLY_DATA) => server_done && !client_done,
        (ToServer, message::CERTIFICATE | message::COMPRESSED_CERTIFICATE) => {
            server_done
                && !client_done
                && facts.certificate_request
                && facts.client_certificate.is_none()
        }
        (ToServer, message::CERTIFICATE_VERIFY) => {
            !client_done
                && !facts.client_certificate_verify
                && matches!(
                    facts.client_certificate,
                    Some(ClientCertificate::Chain(_) | ClientCertificate::Compressed)
                )
        }
        (ToServer, message::FINISHED) => server_done && !client_done && client_answered(facts),
        _ => false,
    }
}

/// TLS up to 1.2.
fn may_follow_clear(facts: &HandshakeFacts, sender: Direction, kind: u8) -> bool {
    let server_done = facts.finished[ToClient.index()];
    let client_done = facts.finished[ToServer.index()];
    let in_server_flight = !facts.server_hello_done && !server_done;
    let in_client_flight = facts.server_hello_done && !client_done;
    match (sender, kind) {
        (ToClient, message::CERTIFICATE) => in_server_flight && facts.server_certificate.is_none(),
        (
            ToClient,
            message::CERTIFICATE_STATUS
            | message::SERVER_KEY_EXCHANGE
            | message::CERTIFICATE_REQUEST
            | message::SERVER_HELLO_DONE,
        ) => in_server_flight,
        (ToServer, message::CERTIFICATE) => {
            in_client_flight
                && facts.certificate_request
                && facts.client_certificate.is_none()
                && !facts.client_key_exchange
        }
        (ToServer, message::CLIENT_KEY_EXCHANGE) => in_client_flight && !facts.client_key_exchange,
        (ToServer, message::CERTIFICATE_VERIFY) => {
            in_client_flight
                && facts.client_key_exchange
                && matches!(facts.client_certificate, Some(ClientCertificate::Chain(_)))
        }
        (ToServer, message::NEXT_PROTOCOL) => !client_done,
        (ToServer, message::FINISHED) if facts.server_hello_done => {
            !client_done && facts.client_key_exchange
        }
        // A resumed session: the server finishes first, without a flight.
        (ToServer, message::FINISHED) => server_done && !client_done,
        (ToClient, message::NEW_SESSION_TICKET) => {
            !server_done && (client_done || !facts.server_hello_done)
        }
        (ToClient, message::FINISHED) if facts.server_hello_done => client_done && !server_done,
        (ToClient, message::FINISHED) => !server_done && facts.server_certificate.is_none(),
        _ => false,
    }
}

/// The client answered the server's request, or there was none.
const fn client_answered(facts: &HandshakeFacts) -> bool {
    !facts.certificate_request
        || match facts.client_certificate {
            None => false,
            Some(ClientCertificate::Empty) => true,
            Some(_) => facts.client_certificate_verify,
        }
}

#[cfg(test)]
mod tests;
