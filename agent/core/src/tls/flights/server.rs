//! The second witness: how many records the server's flight takes.
//!
//! A server that sends one message per record sends EncryptedExtensions, Certificate,
//! CertificateVerify, Finished, and a CertificateRequest after the first where it wants a client
//! certificate (RFC 8446 section 4.3.2). Servers that coalesce their flight say nothing here. One
//! that sent the first two messages in one record and the others each in their own would be
//! misread; none is known, and the client's flight would contradict it.

use super::arithmetic::{Arithmetic, Padding};

/// As many records as a flight is searched for its Finished.
pub(super) const KEPT: usize = 24;
/// Of these, records that are not filled to the limit, as long chains are sent.
const SHORT: usize = 8;

/// What the server's flight says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// Its Finished has not been seen and may still come.
    Pending,
    /// Coalesced, fragmented or padded beyond reading.
    Silent,
    /// A CertificateRequest was sent.
    Requested,
    /// No CertificateRequest was sent.
    NotRequested,
}

/// What the server's records were read as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) witness: Witness,
    /// The padding that the Finished was recognised under.
    pub(super) padding: Padding,
    /// Records of the flight, where that is known.
    pub(super) end: Option<u8>,
}

impl Seen {
    pub(super) const PENDING: Self =
        Self { witness: Witness::Pending, padding: Padding::Bare, end: None };
}

/// Reads the server's first records (at most [`KEPT`]); `ended` says that no more will come.
pub(super) fn read(a: Arithmetic, records: &[u16], ended: bool) -> Seen {
    let silent = Seen { witness: Witness::Silent, ..Seen::PENDING };
    match records.first() {
        // All in one.
        Some(&first) if first >= a.shortest_server_flight() => {
            return Seen { end: Some(1), ..silent };
        }
        _ => {}
    }
    for end in 3..records.len() {
        for padding in Padding::ALL {
            if is_flight_end(a, &records[..=end], padding) {
                let witness = count(a, &records[..=end]);
                return Seen { witness, padding, end: u8::try_from(end + 1).ok() };
            }
        }
    }
    let short = records.iter().filter(|&&record| record != a.full()).count();
    let enough = records.len() >= KEPT || short >= SHORT;
    if ended || enough { silent } else { Seen::PENDING }
}

fn is_flight_end(a: Arithmetic, records: &[u16], padding: Padding) -> bool {
    let Some((&finished, before)) = records.split_last() else { return false };
    // A signature takes up to four records.
    let ends_in_verify = || {
        (1..=before.len().min(4)).any(|length| {
            a.certificate_verify(&before[before.len() - length..], padding) == Some(length)
        })
    };
    finished == a.finished(padding)
        && ends_in_verify()
        && (padding != Padding::Block16 || records.iter().all(|&r| a.fills_blocks(r, 16)))
}

/// Reads a flight that ends in CertificateVerify, Finished.
///
/// Between EncryptedExtensions and CertificateVerify stands the Certificate, or a CertificateRequest
/// and the Certificate. Either may be cut into fragments, all but the last of which are equally long
/// and longer than the last; so a second record shorter than the third is no fragment.
fn count(a: Arithmetic, flight: &[u16]) -> Witness {
    match flight {
        [_, certificate, _, _] if *certificate >= a.shortest_certificate() => Witness::NotRequested,
        [_, request, certificate, .., _, _]
            if a.shortest_request() <= *request && request < certificate =>
        {
            Witness::Requested
        }
        _ => Witness::Silent,
    }
}

/// Whether `length` is that of an alert of a server that pads as the records `before` it show: all
/// of them to multiples of one block, which an alert fills once; or all by as many bytes as the last
/// is longer than a Finished.
pub(super) fn may_be_padded_alert(a: Arithmetic, before: &[u16], length: u16) -> bool {
    // An alert, of 3 bytes with its content type, takes two blocks of 2.
    let block = match a.inner(length) {
        4 => 2,
        inner => inner,
    };
    // Nothing can be added to a full one.
    let mut padded = before.iter().filter(|&&record| record != a.full()).peekable();
    let in_blocks = padded.peek().is_some() && padded.all(|&record| a.fills_blocks(record, block));
    let longer = |length: u16, bare: u16| i32::from(length) - i32::from(bare);
    let by_as_many = match before {
        [_, .., finished] => {
            longer(*finished, a.finished(Padding::Bare)) == longer(length, a.alert(Padding::Bare))
        }
        _ => false,
    };
    in_blocks || by_as_many
}
