//! Why something is not known.

use crate::vocabulary;

vocabulary! {
    /// Why something is `unknown`.
    Reason {
        /// The connection is older than the agent; its handshake was not seen.
        MidStream => "mid_stream",
        /// The captured prefix ended before the handshake did.
        Truncated => "truncated",
        /// Bytes in the middle of the stream were never seen.
        Gap => "gap",
        /// The connection carried no bytes (or none that decide), and it was not the client that
        /// left it so.
        NoData => "no_data",
        /// The client ended the connection before either side had sent a byte (a health check, a
        /// spare connection): it is counted apart, and says nothing about its hop.
        Unused => "unused",
        /// The server ended the connection, and sent nothing that shows that it accepted the
        /// handshake.
        Unaccepted => "unaccepted",
        /// The client ended the connection before the server showed that it accepted the handshake.
        Abandoned => "abandoned",
        /// An upgrade to TLS, or a tunnel, was asked for, and neither TLS nor clear text followed.
        UpgradeUnfinished => "upgrade_unfinished",
        /// The bytes are neither TLS nor recognisable as clear text, or TLS under a cipher suite of
        /// which it is not known whether it encrypts.
        Unrecognised => "unrecognised",
        /// A protocol that encrypts, but not by TLS; the report names it.
        EncryptedNotTls => "encrypted_not_tls",
        /// A resumed session whose full handshake was not seen.
        ResumedUnseen => "resumed_unseen",
        /// The evidence fits more than one answer, or witnesses disagree.
        Ambiguous => "ambiguous",
        /// The ClientHello offers what may add messages of its own to the handshake, so that the
        /// lengths of encrypted records tell nothing.
        UnknownOffer => "unknown_offer",
        /// The handshake did not end within the configured time.
        Timeout => "timeout",
        /// The kernel or the agent lost captured bytes.
        CaptureLost => "capture_lost",
        /// The bytes contradict the protocol.
        Malformed => "malformed",
        /// The deciding messages are encrypted and no other evidence reached them.
        EncryptedHandshake => "encrypted_handshake",
        /// The handshake failed before client authentication was decided.
        HandshakeFailed => "handshake_failed",
        /// The bounded connection table had to give the connection up.
        Evicted => "evicted",
    }
}
