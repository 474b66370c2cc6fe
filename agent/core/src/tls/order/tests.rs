//! Orders that the protocol knows, and each of them with one message gone or moved.

use super::*;
use crate::tls::hello::{ServerHello, TlsVersion};

const V12: TlsVersion = TlsVersion(0x0303);
const V13: TlsVersion = TlsVersion(0x0304);

type Message = (Direction, u8);

const CH: Message = (ToServer, message::CLIENT_HELLO);
const SH: Message = (ToClient, message::SERVER_HELLO);
const EE: Message = (ToClient, message::ENCRYPTED_EXTENSIONS);
const CR: Message = (ToClient, message::CERTIFICATE_REQUEST);
const SCERT: Message = (ToClient, message::CERTIFICATE);
const SCV: Message = (ToClient, message::CERTIFICATE_VERIFY);
const SFIN: Message = (ToClient, message::FINISHED);
const SKE: Message = (ToClient, message::SERVER_KEY_EXCHANGE);
const SHD: Message = (ToClient, message::SERVER_HELLO_DONE);
const NST: Message = (ToClient, message::NEW_SESSION_TICKET);
const CCERT: Message = (ToServer, message::CERTIFICATE);
const CKE: Message = (ToServer, message::CLIENT_KEY_EXCHANGE);
const CCV: Message = (ToServer, message::CERTIFICATE_VERIFY);
const CFIN: Message = (ToServer, message::FINISHED);
const EOED: Message = (ToServer, message::END_OF_EARLY_DATA);

/// What is known of a handshake before a message, for the parts of it that order rests on.
fn take(facts: &mut HandshakeFacts, (sender, kind): Message, version: TlsVersion, resumed: bool) {
    match (sender, kind) {
        SH => {
            facts.server_hello = Some(ServerHello {
                version,
                cipher: 0,
                session_id: None,
                hello_retry_request: false,
                pre_shared_key: resumed.then_some(0),
                group: None,
                alpn: None,
                digest: 0,
            });
        }
        SCERT => facts.server_certificate = Some(Box::default()),
        CCERT => facts.client_certificate = Some(ClientCertificate::Chain(Box::default())),
        CH => {}
        _ => drop(facts.message(sender, kind, &[])),
    }
}

/// Whether all of `messages` come in order.
fn in_order(messages: &[Message], version: TlsVersion, resumed: bool) -> bool {
    let mut facts = HandshakeFacts::default();
    messages.iter().all(|message| {
        let may = may_follow(&facts, message.0, message.1);
        take(&mut facts, *message, version, resumed);
        may
    })
}

const MUTUAL_13: &[Message] = &[CH, SH, EE, CR, SCERT, SCV, SFIN, CCERT, CCV, CFIN];
const MUTUAL_12: &[Message] = &[CH, SH, SCERT, SKE, CR, SHD, CCERT, CKE, CCV, CFIN, NST, SFIN];

#[test]
fn what_the_protocol_knows_is_in_order() {
    for (name, version, resumed, messages) in [
        ("mutual 1.3", V13, false, MUTUAL_13),
        ("one-way 1.3", V13, false, &[CH, SH, EE, SCERT, SCV, SFIN, CFIN]),
        ("early data", V13, true, &[CH, SH, EE, SFIN, EOED, CFIN]),
        ("resumed 1.3", V13, true, &[CH, SH, EE, SFIN, CFIN]),
        ("mutual 1.2", V12, false, MUTUAL_12),
        ("one-way 1.2", V12, false, &[CH, SH, SCERT, SHD, CKE, CFIN, SFIN]),
        ("resumed 1.2", V12, false, &[CH, SH, NST, SFIN, CFIN]),
    ] {
        assert!(in_order(messages, version, resumed), "{name}");
    }
}

#[test]
fn a_message_that_moved_breaks_the_order() {
    for (name, version, messages) in [("1.3", V13, MUTUAL_13), ("1.2", V12, MUTUAL_12)] {
        for at in 1..messages.len() - 1 {
            let mut swapped = messages.to_vec();
            swapped.swap(at, at + 1);
            // Within the server's flight up to TLS 1.2 nothing rests on the order.
            let harmless = version == V12 && (2..5).contains(&at);
            assert!(harmless || !in_order(&swapped, version, false), "{name}: {at} and the next");
        }
    }
}

#[test]
fn a_missing_message_on_which_the_answer_rests_breaks_the_order() {
    for (name, version, messages, missing) in [
        ("no ServerHello", V13, MUTUAL_13, SH),
        ("no EncryptedExtensions", V13, MUTUAL_13, EE),
        ("no CertificateRequest", V13, MUTUAL_13, CR),
        ("no proof of the server", V13, MUTUAL_13, SCV),
        ("no Finished of the server", V13, MUTUAL_13, SFIN),
        ("no certificate of the client", V13, MUTUAL_13, CCERT),
        ("no proof of the client", V13, MUTUAL_13, CCV),
        ("no ServerHello", V12, MUTUAL_12, SH),
        ("no CertificateRequest", V12, MUTUAL_12, CR),
        ("no ServerHelloDone", V12, MUTUAL_12, SHD),
        ("no certificate of the client", V12, MUTUAL_12, CCERT),
    ] {
        let without: Vec<_> = messages.iter().copied().filter(|m| *m != missing).collect();
        assert!(!in_order(&without, version, false), "{name}, {version:?}");
    }
}
