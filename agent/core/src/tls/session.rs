//! Sessions up to TLS 1.2, which both sides name in the clear: by a session identifier (RFC 5246 section
//! 7.4.1.2) or by a ticket (RFC 5077 section 3.2).

use std::{
    hash::{DefaultHasher, Hasher as _},
    num::NonZeroU64,
};

use super::fields::Fields;

/// Bytes of either end of a ticket that tell it from others: key name and initialisation vector at
/// its beginning, the authentication code at its end (RFC 5077 section 4).
const END: usize = 32;

/// What stands for an identifier or a ticket: 64 bits of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionName(NonZeroU64);

impl SessionName {
    /// Of an identifier or ticket; `None` of an empty one, which names nothing.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        match (bytes.first_chunk::<END>(), bytes.last_chunk::<END>()) {
            (Some(first), Some(last)) if bytes.len() > 2 * END => {
                hasher.write(first);
                hasher.write(last);
            }
            _ => hasher.write(bytes),
        }
        Some(Self(NonZeroU64::MIN.saturating_add(hasher.finish())))
    }

    /// Of the ticket in a NewSessionTicket body (RFC 5077 section 3.3).
    #[must_use]
    pub fn of_new_session_ticket(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(body);
        let _lifetime = fields.bytes(4)?;
        Self::of(fields.prefixed::<2>()?)
    }
}
