//! EncryptedExtensions (RFC 8446 section 4.3.1).

use std::sync::Arc;

use tls_parser::{TlsExtension, parse_tls_server_hello_extension};

use super::hello::{extension, extensions, text};

/// Whether an EncryptedExtensions body accepts 0-RTT data (RFC 8446 section 4.2.10).
#[must_use]
pub fn accepts_early_data(body: &[u8]) -> bool {
    let block = body.get(2..).unwrap_or_default();
    extensions(block).any(|(number, ..)| number == extension::EARLY_DATA)
}

/// The application protocol of an EncryptedExtensions body.
#[must_use]
pub fn encrypted_extensions_alpn(body: &[u8]) -> Option<Arc<str>> {
    extensions(body.get(2..)?)
        .filter(|(number, ..)| *number == extension::APPLICATION_LAYER_PROTOCOL_NEGOTIATION)
        .find_map(|(_, whole, _)| match parse_tls_server_hello_extension(whole) {
            Ok((_, TlsExtension::ALPN(protocols))) => protocols.first().map(|name| text(name)),
            _ => None,
        })
}
