//! Tickets of sessions, as both sides show them (RFC 5077 section 3.3, RFC 8446 sections 4.2.11 and
//! 4.6.1).

use super::fields::Fields;
use crate::model::SessionName;

/// The ticket in a NewSessionTicket body: of TLS 1.3 (RFC 8446 section 4.6.1) where it is one to its
/// last byte, else of TLS up to 1.2.
#[must_use]
pub fn ticket(body: &[u8]) -> Option<SessionName> {
    let encrypted = || {
        let mut fields = Fields::of(body);
        let _lifetime_and_age = fields.bytes(4 + 4)?;
        let _nonce = fields.prefixed::<1>()?;
        let ticket = fields.prefixed::<2>()?;
        let _extensions = fields.prefixed::<2>()?;
        SessionName::of(ticket).filter(|_| fields.rest().is_empty())
    };
    encrypted().or_else(|| clear_ticket(body))
}

/// The ticket in a NewSessionTicket body up to TLS 1.2 (RFC 5077 section 3.3).
#[must_use]
pub fn clear_ticket(body: &[u8]) -> Option<SessionName> {
    let mut fields = Fields::of(body);
    let _lifetime = fields.bytes(4)?;
    SessionName::of(fields.prefixed::<2>()?)
}

/// Most identities of a ClientHello that are looked at: clients offer one or two.
const MAX_IDENTITIES: usize = 8;

/// One identity in a client's `pre_shared_key`: of a session, its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the session is known by.
    pub name: SessionName,
    /// Its length in bytes.
    pub length: u16,
}

impl Identity {
    /// Of its bytes; `None` of an empty one, which names nothing, and of one that is longer than the
    /// field for its length allows.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let length = u16::try_from(bytes.len()).ok()?;
        SessionName::of(bytes).map(|name| Self { name, length })
    }
}

/// The identities in a client's `pre_shared_key` (RFC 8446 section 4.2.11), eight at
/// most, as far as they are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities(Box<[Identity]>);

impl Identities {
    /// Reads the extension's content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut list = Fields::of(Fields::of(content).prefixed::<2>().unwrap_or_default());
        let each = std::iter::from_fn(|| {
            let identity = list.prefixed::<2>()?;
            let _obfuscated_age = list.bytes(4)?;
            // An empty one is none (its length is at least 1), and ends the list: the place of the
            // next must not change.
            Identity::of(identity)
        });
        Self(each.take(MAX_IDENTITIES).collect())
    }

    /// The one at this place, which a ServerHello may select.
    #[must_use]
    pub fn at(&self, place: u16) -> Option<Identity> {
        self.0.get(usize::from(place)).copied()
    }
}

/// The `obfuscated_ticket_age` of each identity in a client's `pre_shared_key`, as far as they are
/// whole.
pub fn ticket_ages(content: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    let mut identities = Fields::of(Fields::of(content).prefixed::<2>().unwrap_or_default());
    std::iter::from_fn(move || {
        let _identity = identities.prefixed::<2>()?;
        identities.array()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_found_in_the_message_of_either_version() {
        let named = |bytes: &[u8]| SessionName::of(bytes);
        let cases: [(&str, &[u8], Option<SessionName>); 7] = [
            ("1.3", b"\0\0\x1c\x20\xaa\xbb\xcc\xdd\x01n\0\x03tic\0\0", named(b"tic")),
            ("1.3, no nonce", b"\0\0\x1c\x20\xaa\xbb\xcc\xdd\0\0\x03tic\0\0", named(b"tic")),
            ("1.3, extension", b"\0\0\0\0\0\0\0\0\0\0\x01t\0\x04\0\x2a\0\0", named(b"t")),
            ("1.2", b"\0\0\x1c\x20\0\x06ticket", named(b"ticket")),
            ("1.2, empty", b"\0\0\x1c\x20\0\0", None),
            ("1.3, empty", b"\0\0\x1c\x20\xaa\xbb\xcc\xdd\0\0\0\0\0", None),
            ("cut", b"\0\0\x1c\x20\0\x06tick", None),
        ];
        for (name, body, expected) in cases {
            assert_eq!(ticket(body), expected, "{name}");
        }
    }

    #[test]
    fn identities_keep_their_places() {
        let ticket = |bytes: &[u8]| Identity::of(bytes).unwrap();
        let cases: [(&str, &[u8], Vec<Identity>); 5] = [
            ("one", b"\0\x08\0\x02me\x12\x34\x56\x78\0\0", vec![ticket(b"me")]),
            ("two", b"\0\x0f\0\x02me\0\0\0\x01\0\x01x\0\0\0\0", vec![ticket(b"me"), ticket(b"x")]),
            ("cut", b"\0\x08\0\x02me\0\0", vec![]),
            ("an empty one ends it", b"\0\x0d\0\0\0\0\0\0\0\x01x\0\0\0\0", vec![]),
            ("nothing", b"", vec![]),
        ];
        for (name, content, expected) in cases {
            assert_eq!(*Identities::of(content).0, *expected, "{name}");
        }
        let many = [b"\0\x46".as_slice(), &b"\0\x01x\0\0\0\0".repeat(10)].concat();
        assert_eq!(Identities::of(&many).0.len(), MAX_IDENTITIES);
    }

    #[test]
    fn keys_that_no_session_made_have_no_age() {
        let cases: [(&str, &[u8], &[u32]); 5] = [
            ("a session's", b"\0\x08\0\x02me\x12\x34\x56\x78", &[0x1234_5678]),
            ("an external one", b"\0\x08\0\x02me\0\0\0\0", &[0]),
            ("both", b"\0\x0f\0\x02me\0\0\0\x01\0\x01x\0\0\0\0", &[1, 0]),
            ("cut", b"\0\x08\0\x02me\0\0", &[]),
            ("nothing", b"", &[]),
        ];
        for (name, content, expected) in cases {
            let ages: Vec<_> = ticket_ages(content).map(u32::from_be_bytes).collect();
            assert_eq!(ages, expected, "{name}");
        }
    }
}
