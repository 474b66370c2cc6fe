//! Captures of real stacks in situations that once gave a false answer, and of those where lengths
//! and clear text cannot give the right one.

#[path = "support/reports.rs"]
mod reports;

use std::path::Path;

use reports::{reports, said};

/// File, what happened, and what is said of its connections.
type Case = (&'static str, &'static str, &'static [&'static str]);

const MUTUAL: &str = "mtls presented established inferred";
const ONE_WAY: &str = "tls not_requested established inferred";
const UNSEEN: &str = "unknown{resumed_unseen} unknown established none";
const UNDECIDED: &str = "unknown{ambiguous} unknown established none";
const NONE_SENT: &str = "tls requested_not_presented established inferred";
const NONE_CARRIED: &str = "tls requested_not_presented established carried";

/// Each of these was a false answer.
const RIGHT: &[Case] = &[
    (
        "external-psk",
        "OpenSSL: a mutual handshake, then a key that no session made and no certificate",
        &[MUTUAL, UNSEEN],
    ),
    ("external-psk-retry", "the same with a HelloRetryRequest", &[MUTUAL, UNSEEN]),
    (
        "session-from-before-tls12",
        "TLS 1.2: a session without certificate from before, a mutual handshake, the session resumed",
        &["mtls presented established wire", UNSEEN],
    ),
    ("connect-again-curl", "curl: CONNECT, 407, CONNECT with credentials, TLS", &[ONE_WAY]),
    ("connect-again-mtls", "the same with a client certificate", &[MUTUAL]),
    (
        "empty-certificate-gnutls",
        "TLS 1.2, GnuTLS refuses an empty Certificate with decode_error",
        &["tls requested_not_presented rejected wire"],
    ),
    (
        "empty-certificate-wolfssl",
        "TLS 1.2, wolfSSL refuses an empty Certificate with close_notify",
        &["tls requested_not_presented rejected wire"],
    ),
    ("greeting-then-hello", "the server greets in the clear, then mutual TLS", &[MUTUAL]),
    (
        "bytes-after-a-reset",
        "GnuTLS: bytes of the server that were on their way when the client reset",
        &[ONE_WAY, "tls not_requested established carried"],
    ),
    ("random-padding", "OpenSSL padding at random to NSS, not asked", &[UNDECIDED]),
    (
        "early-data-like-a-certificate",
        "OpenSSL, no certificate: refused 0-RTT data in records as long as a mutual flight",
        &[NONE_SENT, UNDECIDED],
    ),
    (
        "early-data-like-none",
        "OpenSSL, mutual: refused 0-RTT data in records as long as an empty Certificate and Finished",
        &[MUTUAL, UNDECIDED],
    ),
    (
        "declined-psk",
        "OpenSSL: mutual, without certificate after an external key that the server declines, that session resumed",
        &[MUTUAL, NONE_SENT, NONE_CARRIED],
    ),
    ("declined-psk-retry", "the same with a HelloRetryRequest", &[MUTUAL, NONE_SENT, NONE_CARRIED]),
    (
        "external-psk-session",
        "OpenSSL: mutual, an external key, the session that began with that resumed",
        &[MUTUAL, UNSEEN, UNSEEN],
    ),
    (
        "external-psk-session-before",
        "OpenSSL: an external key, mutual, the session that began with the key resumed",
        &[UNSEEN, MUTUAL, UNSEEN],
    ),
    (
        "undecided-padded",
        "OpenSSL: mutual, padded without certificate, that session resumed",
        &[MUTUAL, UNDECIDED, UNSEEN],
    ),
    (
        "undecided-early-data",
        "OpenSSL: mutual, refused 0-RTT data without certificate, that session resumed",
        &[MUTUAL, UNDECIDED, UNDECIDED],
    ),
    (
        "nginx-two-names",
        "nginx, two proxy_ssl_name with one upstream: mutual, without certificate, that session under the first name",
        &[MUTUAL, NONE_SENT, UNSEEN],
    ),
    (
        "no-name",
        "OpenSSL: mutual without server name, no certificate with one, that session without name",
        &[MUTUAL, NONE_SENT, UNSEEN],
    ),
    (
        "application-settings",
        "BoringSSL: settings of the application (ALPS) as long as a certificate, not asked for one",
        &[UNDECIDED],
    ),
    ("application-settings-optional", "the same, asked for one", &[UNDECIDED]),
    ("http-upgrade", "Upgrade: TLS/1.0, then mutual TLS", &[MUTUAL]),
    (
        "session-from-before",
        "TLS 1.3: a session without certificate from before, a mutual handshake, the session resumed",
        &[MUTUAL, UNSEEN],
    ),
    (
        "other-address",
        "TLS 1.3 without server name: mutual, without certificate at another address, that session at the first",
        &[MUTUAL, NONE_SENT, UNSEEN],
    ),
];

/// `LIMITS.md` names each of these.
const LIMITS: &[Case] = &[
    ("post-handshake-authentication", "OpenSSL: asked after the handshake, presented", &[ONE_WAY]),
    (
        "renegotiation",
        "TLS 1.2, OpenSSL: asked in a second handshake, presented",
        &["tls not_requested established wire"],
    ),
    ("block-padding", "OpenSSL padding to 37 bytes, asked, no certificate", &[ONE_WAY]),
    (
        "long-preamble",
        "200 bytes in the clear of an unknown protocol, then mutual TLS",
        &["plaintext not_requested established wire"],
    ),
];

#[test]
fn real_stacks_are_read_right_or_as_the_readme_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stacks");
    let mut wrong = Vec::new();
    for (name, what, expected) in RIGHT.iter().chain(LIMITS) {
        let reports = reports(&folder.join(format!("{name}.pcap")));
        let seen: Vec<_> = reports.iter().filter(|report| report.is_final).map(said).collect();
        if seen != *expected {
            wrong.push(format!("{name} ({what}): {seen:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
