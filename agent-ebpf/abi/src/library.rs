//! Records of the probes inside a TLS library.

use crate::wire::wire_struct;

/// What a library record tells. Zero is no observation, so that a zeroed record is an error.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// Handshake messages, as they are added to the transcript hash; they follow the body.
    Transcript = 1,
    /// `X509_STORE_CTX_get_error` told libssl [`Library::value`].
    VerifyResult = 2,
    /// libssl raised the error with reason [`Library::value`] (library number 20).
    Error = 3,
    /// `SSL_get_verify_result` told the application [`Library::value`].
    ResultAsked = 4,
    /// `X509_check_host` told the application [`Library::value`].
    HostChecked = 5,
    /// `SSL_set_connect_state` made [`Library::ssl`] a client.
    ClientMade = 6,
    /// Go's `x509.(*Certificate).Verify` told `crypto/tls` [`Library::value`]: 0 is no error.
    GoVerified = 7,
    /// The same told something else in the goroutine of a handshake.
    GoAppVerified = 8,
    /// BoringSSL's `X509_verify_cert` answered [`Library::value`]: 1 is good.
    ChainVerified = 9,
    /// The application's verify callback answered BoringSSL [`Library::value`]
    /// (`ssl_verify_result_t`): 0 is good, 1 is not, 2 is not yet.
    CallbackAnswered = 10,
    /// BoringSSL received the alert with description [`Library::value`].
    AlertReceived = 11,
    /// Go's client finished, and nothing in its goroutine called `x509.(*Certificate).Verify`.
    NeverVerified = 12,
    /// OpenSSL digests a ticket that the server gave; its bytes follow the body.
    Ticket = 13,
    /// The process runs another program, of a name that is watched.
    Started = 14,
    /// A ticket that the server gave was not delivered, and perhaps more since.
    TicketLost = 15,
}

impl Observation {
    /// Every observation.
    pub const ALL: [Self; 15] = [
        Self::Transcript,
        Self::VerifyResult,
        Self::Error,
        Self::ResultAsked,
        Self::HostChecked,
        Self::ClientMade,
        Self::GoVerified,
        Self::GoAppVerified,
        Self::ChainVerified,
        Self::CallbackAnswered,
        Self::AlertReceived,
        Self::NeverVerified,
        Self::Ticket,
        Self::Started,
        Self::TicketLost,
    ];

    /// The observation with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|observation| *observation as u8 == number)
    }
}

/// Entries of the map `HOOKS`, more than there are programs.
pub const MAX_HOOKS: u32 = 32;

/// The number that goes with a probe to its program (`bpf_get_attach_cookie`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie(u64);

impl Cookie {
    /// Bits of the entry in `HOOKS`; those of each offset follow.
    const ENTRY: u32 = 8;
    /// Bits of each of [`VerifyOffsets`].
    const OFFSET: u32 = 14;

    /// Of a probe whose program is this entry of `HOOKS`, with what that wants to know.
    #[must_use]
    pub fn new(entry: u8, offsets: Option<VerifyOffsets>) -> Self {
        let offsets = offsets.unwrap_or_default();
        let all = [offsets.replacement, offsets.context, offsets.callback, offsets.mode];
        let bits = all.into_iter().fold(0, |bits, offset| bits << Self::OFFSET | u64::from(offset));
        Self(bits << Self::ENTRY | u64::from(entry))
    }

    /// As the kernel has it.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For the kernel.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The entry in `HOOKS`.
    #[must_use]
    pub const fn entry(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// What the program wants to know; zeros where nothing was said.
    #[must_use]
    pub const fn offsets(self) -> VerifyOffsets {
        const fn at(bits: u64, place: u32) -> u16 {
            let bits = bits >> (Cookie::ENTRY + place * Cookie::OFFSET);
            let bytes = (bits & ((1 << Cookie::OFFSET) - 1)).to_le_bytes();
            u16::from_le_bytes([bytes[0], bytes[1]])
        }
        VerifyOffsets {
            mode: at(self.0, 0),
            callback: at(self.0, 1),
            context: at(self.0, 2),
            replacement: at(self.0, 3),
        }
    }
}

/// Where a build of libssl keeps what decides over a bad verification result, as offsets in bytes
/// that [`VerifyOffsets::offset`] lets pass. It travels to the kernel program in a [`Cookie`].
///
/// What an application does to the result before libssl gets it, by a callback on the certificate
/// store (`X509_STORE_set_verify_cb`) or by what it puts into the store, is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOffsets {
    /// Verify mode (32 bits) in the connection object.
    pub mode: u16,
    /// The application's verify callback in the connection object.
    pub callback: u16,
    /// Pointer to the context (`SSL_CTX`) in the connection object.
    pub context: u16,
    /// The function in the context that the application put in the place of verification.
    pub replacement: u16,
}

impl VerifyOffsets {
    /// An offset of a member, if a [`Cookie`] has room for it: below 16 KiB, several times the size
    /// of the objects.
    #[must_use]
    pub fn offset(bytes: u64) -> Option<u16> {
        u16::try_from(bytes).ok().filter(|offset| offset >> Cookie::OFFSET == 0)
    }
}

/// OpenSSL's number for errors of libssl (`ERR_LIB_SSL`, openssl/err.h).
pub const ERR_LIB_SSL: u32 = 20;

/// Bytes of one transcript update that leave the kernel; more than OpenSSL's own limit for a
/// certificate message leaves room for (`SSL_MAX_CERT_LIST_DEFAULT` is 100 KiB, real chains are
/// a tenth of that).
pub const TRANSCRIPT_CAP: u32 = 65_536;

/// Who sent the bytes of a [`Observation::Transcript`].
pub mod sent_by {
    /// Not known at the place of the probe.
    pub const UNKNOWN: u8 = 0;
    /// The process itself.
    pub const US: u8 = 1;
    /// Its peer.
    pub const PEER: u8 = 2;
}

wire_struct! {
    /// Something a TLS library did; for [`Observation::Transcript`] and [`Observation::Ticket`] the
    /// captured bytes follow.
    Library: 40 {
        /// An [`Observation`] as number.
        observation: u8,
        /// 1 in [`Observation::VerifyResult`] where libssl itself ends a handshake over a bad result:
        /// the mode says so, and the application put nothing in between. Else 0.
        enforced: u8,
        /// One of [`sent_by`]; 0 but for [`Observation::Transcript`].
        sender: u8,
        /// Zero.
        reserved: [u8; 1],
        /// Process (thread group) id in the initial pid namespace.
        tgid: u32,
        /// Address of the connection object (`SSL *`, in Go `*tls.Conn`); 0 where it was made before
        /// the probes.
        ssl: u64,
        /// Address of the digest context, or again the connection object where messages are seen
        /// before they are hashed; 0 but for [`Observation::Transcript`].
        context: u64,
        /// The result (two's complement), or the reason of the error; 0 for
        /// [`Observation::Transcript`].
        value: u64,
        /// Length of what the library hashed; more than the captured bytes beyond [`TRANSCRIPT_CAP`].
        len: u32,
        /// Zero.
        reserved_end: u32,
    }
}

/// Whose probe was hit.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stack {
    /// OpenSSL as a shared library, and what its applications call.
    OpenSsl = 0,
    /// OpenSSL inside a program: `ssl3_finish_mac`.
    OpenSslInside = 1,
    /// Go's `crypto/tls`.
    Go = 2,
    /// BoringSSL inside a program.
    BoringSsl = 3,
    /// rustls inside a program.
    Rustls = 4,
}

impl Stack {
    /// Every one, in order.
    pub const ALL: [Self; 5] =
        [Self::OpenSsl, Self::OpenSslInside, Self::Go, Self::BoringSsl, Self::Rustls];

    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::OpenSslInside => "openssl_inside",
            Self::Go => "go",
            Self::BoringSsl => "boringssl",
            Self::Rustls => "rustls",
        }
    }
}

/// The places of one file that stand or fall together: whose misfires are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Those of a TLS library.
    Library(Stack),
    /// Those of a program that asks OpenSSL for the result of its verification.
    Application,
}

impl Part {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Library(Stack::OpenSsl),
        Self::Library(Stack::OpenSslInside),
        Self::Library(Stack::Go),
        Self::Library(Stack::BoringSsl),
        Self::Library(Stack::Rustls),
        Self::Application,
    ];

    /// Key of the map `MISFIRES`: what is counted of this part in a process.
    #[must_use]
    pub const fn key(self, tgid: u32) -> u64 {
        let part = match self {
            Self::Library(stack) => stack as u64,
            Self::Application => Stack::ALL.len() as u64,
        };
        part << 32 | tgid as u64
    }

    /// The process and the part of a key.
    #[must_use]
    pub fn of_key(key: u64) -> Option<(u32, Self)> {
        let tgid = u32::try_from(key & u64::from(u32::MAX)).ok()?;
        Self::ALL.into_iter().find(|part| part.key(tgid) == key).map(|part| (tgid, part))
    }
}

/// What the library probes saw and dropped: indices of the per-CPU array `LIBRARY_COUNTS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LibraryCount {
    /// A probe fired.
    Hit = 0,
    /// A probe fired in a process that is not watched but maps the same file.
    Unwatched = 1,
    /// The connection object is a server's.
    Server = 2,
    /// The hashed bytes do not begin with a handshake message.
    NotHandshake = 3,
    /// Bytes delivered.
    Bytes = 4,
    /// A record found no room in the ring buffer.
    Lost = 5,
    /// The process's memory could not be read.
    Unreadable = 6,
    /// A process had delivered as much as it may in a second.
    Limited = 7,
    /// A connection had delivered as much of tickets as one may.
    TicketLimited = 8,
}

impl LibraryCount {
    /// Every count, in index order.
    pub const ALL: [Self; 9] = [
        Self::Hit,
        Self::Unwatched,
        Self::Server,
        Self::NotHandshake,
        Self::Bytes,
        Self::Lost,
        Self::Unreadable,
        Self::Limited,
        Self::TicketLimited,
    ];

    /// Name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Unwatched => "unwatched",
            Self::Server => "server",
            Self::NotHandshake => "not_handshake",
            Self::Bytes => "bytes",
            Self::Lost => "lost",
            Self::Unreadable => "unreadable",
            Self::Limited => "limited",
            Self::TicketLimited => "ticket_limited",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_numbered_in_order() {
        for (index, count) in (0u32..).zip(LibraryCount::ALL) {
            assert_eq!(count as u32, index, "{}", count.as_str());
        }
    }

    #[test]
    fn every_part_of_a_process_has_a_key_of_its_own() {
        for part in Part::ALL {
            assert_eq!(Part::of_key(part.key(u32::MAX)), Some((u32::MAX, part)));
        }
        assert_eq!(Part::of_key(6 << 32), None);
    }

    #[test]
    fn a_cookie_holds_an_entry_and_offsets() {
        let offsets =
            VerifyOffsets { mode: 0x968, callback: 0x3fff, context: 0, replacement: 0x2001 };
        for entry in [0, 7, u8::MAX] {
            let cookie = Cookie::from_bits(Cookie::new(entry, Some(offsets)).to_bits());
            assert_eq!((cookie.entry(), cookie.offsets()), (entry, offsets));
            assert_eq!(Cookie::new(entry, None).offsets(), VerifyOffsets::default());
        }
        assert_eq!(VerifyOffsets::offset(0x3fff), Some(0x3fff));
        assert_eq!(VerifyOffsets::offset(0x4000), None);
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let record = Library {
            observation: Observation::Error as u8,
            tgid: 7,
            ssl: u64::MAX,
            value: u64::MAX,
            ..Library::default()
        };
        assert_eq!(Library::from_bytes(&record.to_bytes()), Some(record));
        assert_eq!(Observation::from_number(record.observation), Some(Observation::Error));
        assert_eq!(Observation::from_number(0), None);
    }
}
