//! TLS: from bytes to facts. Nothing here knows where the bytes came from.

pub mod alert;
pub mod certificate;
pub mod certificate_facts;
pub mod cryptography;
pub mod encrypted_extensions;
pub mod facts;
pub mod fields;
pub mod fingerprint;
pub mod flights;
pub mod group;
pub mod hello;
pub mod key_exchange;
pub mod key_usage;
pub mod message;
pub mod name;
pub mod offered;
pub mod offers;
pub mod order;
pub mod public_key;
pub mod records;
pub mod scheme;
pub mod session;
pub mod suite;
pub mod ticket_lengths;
pub mod transcript;
pub mod wire;
