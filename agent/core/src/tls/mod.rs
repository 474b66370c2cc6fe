//! TLS: from bytes to facts. Nothing here knows where the bytes came from.

pub mod alert;
pub mod certificate;
pub mod certificate_facts;
pub mod facts;
pub mod fields;
pub mod flights;
pub mod hello;
pub mod message;
pub mod name;
pub mod offers;
pub mod order;
pub mod public_key;
pub mod records;
pub mod session;
pub mod suite;
pub mod ticket_lengths;
pub mod transcript;
pub mod wire;
