//! Whether a segment looks like the beginning of TLS.
//!
//! A wrong yes costs bytes of one connection up to the handshake budget; a wrong no leaves the connection with
//! the classify budget, which holds the beginning of a handshake as well.

/// Payload bytes that are looked at.
pub const HEAD: usize = 8;

const HANDSHAKE: u8 = 22;

/// The first bytes of a segment, zero after its end.
pub struct Head {
    /// The bytes.
    pub start: [u8; HEAD],
    /// Payload length of the segment, at least 1.
    pub len: u32,
    /// The stream begins here.
    pub first: bool,
    /// From the proxy to the upstream.
    pub to_server: bool,
}

impl Head {
    /// A segment of a connection seen from its start.
    #[inline(always)]
    pub fn begins_tls(&self) -> bool {
        self.is_record() || (self.first && (self.is_cut_record() || self.is_prefix()))
    }

    /// A segment of a connection that is older than the agent: only a hello tells that the
    /// handshake is still to come.
    #[inline(always)]
    pub fn begins_handshake(&self) -> bool {
        let [kind, major, _, _, _, message, ..] = self.start;
        kind == HANDSHAKE && major == 3 && (message == 1 || message == 2)
    }

    /// A TLS record header (RFC 8446 section 5.1): ChangeCipherSpec, Alert, Handshake, data.
    #[inline(always)]
    fn is_record(&self) -> bool {
        let [kind, major, minor, ..] = self.start;
        (20..=23).contains(&kind) && major == 3 && minor <= 4 && self.len >= 3
    }

    /// A handshake record whose header was split by the sender.
    #[inline(always)]
    fn is_cut_record(&self) -> bool {
        let [kind, major, ..] = self.start;
        kind == HANDSHAKE && (self.len == 1 || (self.len == 2 && major == 3))
    }

    /// What may stand before the first record of a client: an SSLv2-style hello (RFC 5246
    /// appendix E.2) or a PROXY protocol header, version 1 or 2.
    #[inline(always)]
    fn is_prefix(&self) -> bool {
        let [b0, _, b2, b3, b4, ..] = self.start;
        let sslv2_hello = b0 & 0x80 != 0 && b2 == 1 && (b3 == 3 || (b3 == 0 && b4 == 2));
        let start = u64::from_be_bytes(self.start);
        let proxy_v1 = start >> 16 == u64::from_be_bytes(*b"\0\0PROXY ");
        let proxy_v2 = start == u64::from_be_bytes(*b"\r\n\r\n\0\r\nQ");
        self.to_server && (sslv2_hello || proxy_v1 || proxy_v2)
    }
}
