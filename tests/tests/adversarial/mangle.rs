//! What a hostile or clumsy network does to the segments of a connection.

/// What is done to the segments that the proxy receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mangle {
    /// Nothing.
    Plain,
    /// Each byte has a segment of its own.
    ByByte,
    /// Segments come in reverse order.
    Backwards,
    /// Each segment repeats half of the one before.
    Overlapping,
    /// The proxy may send 48 bytes at a time, the smallest segment that Linux makes by itself.
    SmallestWindow,
    /// The window is one byte for the first [`ONE_BY_ONE`] bytes of each of the proxy's flights:
    /// Linux sends one whenever its persist timer runs out, every 200 ms.
    OneByteWindow,
    /// A forged segment far beyond the window before each.
    BeyondTheWindow,
    /// A reset with a sequence number beyond the window before each.
    ResetBeyondTheWindow,
    /// A forged copy before each segment; TCP drops it for its checksum.
    WrongChecksum,
    /// The same, but only once, and what is forged is a TLS 1.2 flight that asks for a certificate.
    ForgedHello,
    /// A forged copy of all but the first byte before each segment; Linux prefers the later one,
    /// which covers it.
    AheadOfAGap,
    /// An end of the stream before each segment; TCP drops it, it acknowledges what was never sent.
    WrongEnd,
    /// A warning alert in the clear before the upstream's first byte.
    WarningAlert,
}

/// A TLS 1.2 server flight: ServerHello, CertificateRequest, ServerHelloDone.
pub const FORGED_HELLO: &[u8] = &[
    22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0xc0, 0x2f, 0, 22, 3, 3, 0, 12, 13, 0, 0, 8, 1, 1, 0, 2,
    4, 3, 0, 0, 22, 3, 3, 0, 4, 14, 0, 0, 0,
];

/// Bytes of a flight for which [`Mangle::OneByteWindow`] is in force: the headers of record and
/// message.
pub const ONE_BY_ONE: usize = 9;
