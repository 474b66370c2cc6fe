//! Which TLS 1.3 tickets may come back as which identity, by their lengths.
//!
//! A ticket is given encrypted, in a record whose length shows, and offered in the clear as an
//! identity of a pre-shared key. With the ticket's length L a NewSessionTicket (RFC 8446 section 4.6.1)
//! takes 4 bytes of header, 4 of lifetime, 4 of age, a nonce behind its length, L behind 2, and
//! extensions behind 2; its record adds the content type and a tag (section 5.2).
//!
//! Servers give their tickets one message per record (OpenSSL, Go, GnuTLS, NSS, wolfSSL, Erlang), or
//! two tickets of a length in one record (BoringSSL, rustls). Nonce, the one extension that there is
//! (`early_data`), and padding (16 bytes in SunJSSE) stay within 72 bytes.

/// What a message with a ticket takes besides that at least, its nonce and extensions empty.
const AROUND_A_TICKET: u16 = 4 + 4 + 4 + 1 + 2 + 2;
/// What its record adds, with the shortest tag (`TLS_AES_128_CCM_8_SHA256`).
const AROUND_A_MESSAGE: u16 = 1 + 8;
/// What nonce, extensions, padding, and the rest of a longer tag take at most.
const SLACK: u16 = 72;
/// Most tickets in one record.
const MOST_TICKETS: u16 = 2;
/// Most lengths that are told apart.
const MOST_LENGTHS: usize = 8;

/// Whether a record of this length may hold a ticket that is an identity of this length.
#[must_use]
pub fn may_hold(record: u16, identity: u16) -> bool {
    (1..=MOST_TICKETS).any(|tickets| {
        let longest = record
            .checked_sub(AROUND_A_MESSAGE)
            .and_then(|messages| (messages / tickets).checked_sub(AROUND_A_TICKET));
        longest.is_some_and(|longest| (longest.saturating_sub(SLACK)..=longest).contains(&identity))
    })
}

/// The lengths of the records in which the tickets of some sessions were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketLengths {
    /// Some were given in records that were not seen, or in too many different ones.
    any: bool,
    /// Lengths, and zeros.
    known: [u16; MOST_LENGTHS],
}

impl TicketLengths {
    /// Lengths that may be any.
    pub const ANY: Self = Self { any: true, known: [0; MOST_LENGTHS] };

    /// Adds a record; `None` for one that was not seen.
    pub fn add(&mut self, record: Option<u16>) {
        let place = record.and_then(|record| {
            self.known.iter_mut().find(|known| **known == record || **known == 0).zip(Some(record))
        });
        match place {
            Some((place, record)) => *place = record,
            None => self.any = true,
        }
    }

    /// Whether one of them may be offered as an identity of this length; `None` for one that is not
    /// known.
    #[must_use]
    pub fn may_be(&self, identity: Option<u16>) -> bool {
        let Some(identity) = identity else { return true };
        self.any || self.is_seen(Some(identity))
    }

    /// Whether one whose record was seen may be offered as an identity of this length.
    #[must_use]
    pub fn is_seen(&self, identity: Option<u16>) -> bool {
        let fits = |identity| self.known.iter().any(|&record| may_hold(record, identity));
        identity.is_some_and(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stack, record, identity, as seen of these servers (`xtask/tools/tests/flights` has them all).
    const SEEN: [(&str, u16, u16); 12] = [
        ("OpenSSL, one-way", 234, 192),
        ("OpenSSL, mutual", 714, 672),
        ("nginx", 746, 704),
        ("BoringSSL, one-way", 381, 160),
        ("BoringSSL, mutual", 2301, 1120),
        ("rustls", 179, 32),
        ("Go, one-way", 139, 105),
        ("Go, mutual", 1534, 1500),
        ("GnuTLS", 764, 726),
        ("NSS", 694, 658),
        ("SunJSSE", 772, 725),
        ("Erlang", 147, 97),
    ];

    #[test]
    fn a_ticket_comes_back_in_its_length() {
        for (stack, record, identity) in SEEN {
            assert!(may_hold(record, identity), "{stack}");
            assert!(!may_hold(record, record), "{stack}: longer than its record");
            assert!(!may_hold(record, record - 25), "{stack}: no room for what is around it");
        }
        for (name, record, identity) in [
            ("a mutual session's, of a record with a one-way session's", 234, 672),
            ("the reverse", 714, 192),
            ("an alert", 19, 32),
            ("nothing", 0, 0),
        ] {
            assert!(!may_hold(record, identity), "{name}");
        }
    }

    #[test]
    fn lengths_rule_out_what_none_of_them_may_be() {
        let lengths = |records: &[Option<u16>]| {
            let mut lengths = TicketLengths::default();
            for record in records {
                lengths.add(*record);
            }
            lengths
        };
        let many: Vec<_> = (0..9).map(|step| Some(3000 + step)).collect();
        for (name, lengths, identity, may_be, is_seen) in [
            ("none", lengths(&[]), Some(192), false, false),
            ("its own", lengths(&[Some(234)]), Some(192), true, true),
            ("another's", lengths(&[Some(714)]), Some(192), false, false),
            ("either", lengths(&[Some(714), Some(234), Some(714)]), Some(672), true, true),
            ("one not seen", lengths(&[Some(714), None]), Some(192), true, false),
            ("beside one not seen", lengths(&[Some(714), None]), Some(672), true, true),
            ("an identity not seen", lengths(&[Some(714)]), None, true, false),
            ("eight", lengths(&many[..8]), Some(192), false, false),
            ("more than are told apart", lengths(&many), Some(192), true, false),
            ("any", TicketLengths::ANY, Some(192), true, false),
        ] {
            let told = (lengths.may_be(identity), lengths.is_seen(identity));
            assert_eq!(told, (may_be, is_seen), "{name}");
        }
    }
}
