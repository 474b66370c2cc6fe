//! Alerts (RFC 8446 section 6, RFC 5246 section 7.2).

use crate::model::Word;

/// Fatal level.
pub const FATAL: u8 = 2;

/// Description numbers that mean something to a verdict.
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub mod description {
    pub const CLOSE_NOTIFY: u8 = 0;
    pub const HANDSHAKE_FAILURE: u8 = 40;
    pub const NO_CERTIFICATE: u8 = 41;
    pub const DECODE_ERROR: u8 = 50;
    pub const USER_CANCELED: u8 = 90;
    pub const NO_RENEGOTIATION: u8 = 100;
    pub const CERTIFICATE_REQUIRED: u8 = 116;
}

/// The alert's name, `snake_case` as in the RFCs, or `alert_N`.
#[must_use]
pub fn name(description: u8) -> Word {
    let known = match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        other => return format!("alert_{other}").into(),
    };
    known.into()
}

/// Whether the alert, sent by a server after it asked for a certificate, refuses the client's
/// certificate or its absence. `handshake_failure` is what servers send for an empty Certificate
/// up to TLS 1.2 (RFC 5246 section 7.4.6).
#[must_use]
pub const fn refuses_certificate(description: u8) -> bool {
    matches!(description, 40..=46 | 48 | 49 | 51 | 116)
}

/// Whether the alert, sent by a server in answer to an empty Certificate, refuses the absence of
/// one: what GnuTLS and wolfSSL say counts as well.
#[must_use]
pub const fn refuses_no_certificate(number: u8) -> bool {
    refuses_certificate(number)
        || matches!(number, description::DECODE_ERROR | description::CLOSE_NOTIFY)
}

/// Whether the alert, sent by a client, says that it verified the server's certificate and refused
/// it. `handshake_failure` has other causes too.
#[must_use]
pub const fn refuses_server_certificate(description: u8) -> bool {
    matches!(description, 42..=46 | 48)
}

/// Whether an alert at warning level ends nothing.
#[must_use]
pub const fn is_harmless_warning(level: u8, description: u8) -> bool {
    level != FATAL && !matches!(description, description::CLOSE_NOTIFY | description::USER_CANCELED)
}
