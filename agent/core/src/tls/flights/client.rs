//! The first witness: the lengths of the client's first encrypted records.
//!
//! Finished and application data never share a record, for their keys differ, and Finished comes
//! first (RFC 8446 section 5.1). So outside 0-RTT the first record is handshake, or an alert, and
//! application data of any length cannot stand in its place.

use super::{
    Ambiguity, HelloFacts, Rule,
    arithmetic::{Arithmetic, MAX_CONTENT, Padding},
    server::Witness,
};
use crate::model::ClientAuth;

/// As many records as a flight is searched for its end.
pub(super) const KEPT: usize = 24;

/// As many records as must fit 16-byte blocks before a client is taken to pad to them; one fewer
/// where there are no more.
const BLOCK_PADDING_SAMPLE: usize = 4;

/// Block sizes that a client which pads its handshake only is expected to choose from: one whole
/// block then looks like a certificate.
pub(super) const USUAL_BLOCK: u16 = 64;

/// What the client's records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// More records are needed.
    Wait,
    /// The flight was read.
    Flight {
        auth: ClientAuth,
        rule: Rule,
        /// Whether two exact lengths or more were matched.
        exact: bool,
        /// Records of the flight.
        end: usize,
    },
    /// An alert stands in the flight's place.
    Alert,
    /// The records fit more than one flight.
    Unclear(Ambiguity),
}

/// What the records are read against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) a: Arithmetic,
    pub(super) facts: &'a HelloFacts,
    pub(super) server: Witness,
    /// No more records will come, or no more are kept.
    pub(super) ended: bool,
}

const fn flight(auth: ClientAuth, rule: Rule, end: usize) -> Reading {
    Reading::Flight { auth, rule, exact: false, end }
}

/// Reads the client's first records (at most [`KEPT`]).
pub(super) fn read(cx: Context<'_>, records: &[u16]) -> Reading {
    let a = cx.a;
    let Some(&first) = records.first() else { return Reading::Wait };
    // A fragment as short as a bare flight makes any message look like one.
    if cx.facts.client_fragment.is_some_and(|content| {
        a.record(content.min(MAX_CONTENT), Padding::Bare)
            <= a.empty_certificate_and_finished(Padding::Bare)
    }) {
        return Reading::Unclear(Ambiguity::TinyFragments);
    }
    // It may stand before the flight, in records as long as those of any flight.
    if cx.facts.early_data_rejected() {
        return Reading::Unclear(Ambiguity::EarlyDataRejected);
    }
    if first == a.alert(Padding::Bare) {
        return Reading::Alert;
    }
    if first < a.finished(Padding::Bare) {
        return empty_certificate(cx, records);
    }
    if first == a.finished(Padding::Bare) {
        return flight(ClientAuth::NotRequested, Rule::Finished, 1);
    }
    if first == a.empty_certificate_and_finished(Padding::Bare) {
        return flight(ClientAuth::RequestedNotPresented, Rule::EmptyCertificateCoalesced, 1);
    }
    if first == a.finished(Padding::Fixed16) {
        return finished_fixed_padding(cx, records);
    }
    if is_coalesced_with_fixed_padding(cx, first) {
        let rule = Rule::EmptyCertificateCoalescedPadded;
        return flight(ClientAuth::RequestedNotPresented, rule, 1);
    }
    if first == a.finished(Padding::Block16) {
        return finished_block_padding(cx, records);
    }
    if first > a.longest_modestly_padded() {
        return large(cx, records);
    }
    small_certificate(cx, records)
}

/// The first record is too short for a Finished, so it is an empty Certificate (or an alert of a
/// client that pads): a certificate is longer still.
fn empty_certificate(cx: Context<'_>, records: &[u16]) -> Reading {
    let a = cx.a;
    let first = records[0];
    let Some(&second) = records.get(1) else {
        return match cx.ended {
            false => Reading::Wait,
            true if a.may_be_alert(first) => Reading::Alert,
            true if first == a.empty_certificate(Padding::Bare) => {
                Reading::Unclear(Ambiguity::Incomplete)
            }
            true => Reading::Unclear(Ambiguity::UnexplainedLength),
        };
    };
    let auth = ClientAuth::RequestedNotPresented;
    let [bare, block] = [Padding::Bare, Padding::Block16]
        .map(|padding| (a.empty_certificate(padding), a.finished(padding)));
    if (first, second) == bare {
        return Reading::Flight { auth, rule: Rule::EmptyCertificate, exact: true, end: 2 };
    }
    if (first, second) == block || (first > bare.0 && second == first + (bare.1 - bare.0)) {
        return flight(auth, Rule::EmptyCertificatePadded, 2);
    }
    // A client's EncryptedExtensions (ALPS) are as short.
    if second == bare.1
        && a.is_compressed_empty_certificate(first)
        && cx.facts.certificate_compression_offered
        && !cx.facts.application_settings_offered
    {
        return flight(auth, Rule::EmptyCertificateCompressed, 2);
    }
    if a.may_be_alert(first) && second == first {
        return Reading::Alert;
    }
    Reading::Unclear(Ambiguity::UnexplainedLength)
}

/// The first record is 16 bytes longer than Finished: a Finished with that padding, unless the
/// second is as much longer as a Finished is longer than an empty Certificate, or too short for
/// that padding.
fn finished_fixed_padding(cx: Context<'_>, records: &[u16]) -> Reading {
    let a = cx.a;
    let decided = flight(ClientAuth::NotRequested, Rule::FinishedFixedPadding, 1);
    let step = a.finished(Padding::Bare) - a.empty_certificate(Padding::Bare);
    match records.get(1) {
        None if cx.server == Witness::NotRequested || cx.ended => decided,
        None => Reading::Wait,
        Some(&second) if second == records[0] + step => Reading::Unclear(Ambiguity::Padded),
        // A server may have limited the client's records to this very length.
        Some(&second) if second == records[0] && cx.facts.record_size_limit.is_some() => {
            Reading::Unclear(Ambiguity::TinyFragments)
        }
        Some(&second) if second < a.shortest(Padding::Fixed16) => {
            Reading::Unclear(Ambiguity::UnexplainedLength)
        }
        Some(_) => decided,
    }
}

/// Whether the first record is an empty Certificate and Finished with 16 bytes of padding: SunJSSE
/// puts both in one record, 8 + 36 + 1 + 16 + 16 = 77 bytes with SHA-256. Only the server's own
/// request tells it from a Finished with more padding; a certificate is longer, but a compressed one
/// and a client's EncryptedExtensions (ALPS) need not be.
fn is_coalesced_with_fixed_padding(cx: Context<'_>, first: u16) -> bool {
    first == cx.a.empty_certificate_and_finished(Padding::Fixed16)
        && cx.server == Witness::Requested
        && !cx.facts.certificate_compression_offered
        && !cx.facts.application_settings_offered
}

/// The first record is a Finished in blocks of 16 bytes. Larger blocks give other messages that
/// length too, so the records after it must rule them out.
fn finished_block_padding(cx: Context<'_>, records: &[u16]) -> Reading {
    let a = cx.a;
    if !records.iter().all(|&r| a.fills_blocks(r, 16)) {
        return Reading::Unclear(Ambiguity::UnexplainedLength);
    }
    // An empty Certificate and Finished, in one larger block each or with more padding still.
    let step = records[0] - a.empty_certificate(Padding::Block16);
    if records.get(1).is_some_and(|&second| second == records[0] || second == records[0] + step) {
        return Reading::Unclear(Ambiguity::Padded);
    }
    let block = records.iter().fold(0, |block, &r| gcd(block, a.inner(r)));
    let sampled = records.len() + usize::from(cx.ended) >= BLOCK_PADDING_SAMPLE;
    if cx.server == Witness::NotRequested || (sampled && block == 16) {
        flight(ClientAuth::NotRequested, Rule::FinishedBlockPadding, 1)
    } else if cx.ended {
        Reading::Unclear(Ambiguity::Padded)
    } else {
        Reading::Wait
    }
}

/// The first record is longer than any modestly padded Finished: a certificate, unless padding by
/// so much is what this client does. Its later records tell; with SHA-256 and tags of 16 bytes,
/// where an empty Certificate and a Finished take 61 bytes:
///
/// | records | what they show |
/// |---|---|
/// | 967, 96, 53 | Certificate, CertificateVerify and Finished, each its own: [`certificate_verify`] |
/// | 528, 528 | 512 bytes and a tag: may be a padded Finished, [`may_be_padded`] |
/// | 653, 697, 619 | 600 bytes on top of each would do: none [`rules_padding_out`] |
/// | 630, 97 | who pads by 569 bytes or more sends no 97: a certificate and what follows, in one |
fn large(cx: Context<'_>, records: &[u16]) -> Reading {
    match certificate_verify(cx, records, &Padding::ALL) {
        Structure::Missing => {}
        Structure::Incomplete => return Reading::Wait,
        Structure::Found(found) => return found,
    }
    // A client's EncryptedExtensions (ALPS) may be as long, in one record with what follows.
    if cx.facts.application_settings_offered {
        return Reading::Unclear(Ambiguity::UnexplainedLength);
    }
    // Its Certificate and CertificateVerify would stand in records of their own.
    if cx.facts.openssl {
        return Reading::Unclear(Ambiguity::Padded);
    }
    let (first, rest) = (records[0], &records[1..]);
    if may_be_padded(cx, first, rest.first().copied()) {
        return Reading::Unclear(Ambiguity::Padded);
    }
    if rest.iter().any(|&later| rules_padding_out(cx, first, later)) {
        // What fills a record to the limit goes on in the next.
        let end = 1 + usize::from(cx.a.is_full(first, cx.facts));
        return flight(ClientAuth::Presented, Rule::CertificateCoalesced, end);
    }
    match (cx.ended, rest.is_empty()) {
        (false, _) => Reading::Wait,
        (true, true) => Reading::Unclear(Ambiguity::Incomplete),
        (true, false) => Reading::Unclear(Ambiguity::Padded),
    }
}

/// Whether a long first record may hold no certificate, whatever comes later:
/// - it is one block of a usual size, for padding of the handshake alone shows in no later record,
///   but is done in blocks;
/// - it is filled to the limit, and the server did not say that it asked;
/// - the two may be an empty Certificate and a Finished, both padded.
fn may_be_padded(cx: Context<'_>, first: u16, second: Option<u16>) -> bool {
    let may_be_one_block = if cx.a.is_full(first, cx.facts) {
        cx.server != Witness::Requested
    } else {
        cx.a.fills_blocks(first, USUAL_BLOCK)
    };
    may_be_one_block || second.is_some_and(|second| cx.a.may_be_padded_empty(first, second))
}

/// Whether a later record shows that the first is not that long by padding:
/// - constant padding leaves none much shorter than the first. 630 bytes need 630 - 61 = 569 of
///   padding at least, and then no record is shorter than 569 + 17;
/// - padding to blocks makes the first record one block and the others multiples of it. 630 bytes
///   are 614 and a tag; 2000 bytes are 1984 and a tag, no multiple of 614. That counts only with the
///   server's word that it asked.
fn rules_padding_out(cx: Context<'_>, first: u16, later: u16) -> bool {
    let a = cx.a;
    let least_padding = first - a.empty_certificate_and_finished(Padding::Bare);
    later < least_padding + a.shortest(Padding::Bare)
        || (cx.server == Witness::Requested && !a.fills_blocks(later, a.inner(first)))
}

/// The first record is longer than a bare Finished, but a padded one could be as long. A raw public
/// key or a compressed certificate can be this short; it counts where the server is known to have
/// asked and CertificateVerify and Finished follow.
fn small_certificate(cx: Context<'_>, records: &[u16]) -> Reading {
    let a = cx.a;
    let may_be_certificate = a.is_x509_certificate(records[0])
        || records.get(1).is_none_or(|&verify| a.is_raw_public_key(records[0], verify));
    if cx.server == Witness::Requested && may_be_certificate {
        match certificate_verify(cx, records, &[Padding::Bare]) {
            Structure::Missing => {}
            Structure::Incomplete => return Reading::Wait,
            Structure::Found(found) => return found,
        }
    }
    Reading::Unclear(Ambiguity::UnexplainedLength)
}

/// Whether the records are a Certificate, a CertificateVerify and a Finished, each its own.
enum Structure<Found> {
    Missing,
    Incomplete,
    Found(Found),
}

/// Looks for CertificateVerify and Finished right after the Certificate, which may be cut into
/// fragments: equally long ones, then a shorter rest. With SHA-256 and tags of 16 bytes:
///
/// - 967, 96, 53. 96 bytes are 4 + 2 + 2 around a signature of 71 (ECDSA P-256), a content type and
///   a tag; 53 are 4 + 32, a content type and a tag. The flight has three records.
/// - 529, 529, 529, 426, 281, 53. Three fragments and the rest of them; 281 bytes are 4 + 2 + 2
///   around a signature of 256 (RSA 2048). The flight has six records.
fn certificate_verify(
    cx: Context<'_>,
    records: &[u16],
    paddings: &[Padding],
) -> Structure<Reading> {
    if is_empty_certificate_padded(cx.a, records) {
        return Structure::Missing;
    }
    let certificate_ends = certificate_ends(cx, records);
    let mut incomplete = certificate_ends[0] == records.len();
    for end in certificate_ends {
        for &padding in paddings {
            if padding == Padding::Block16 && !cx.a.fills_blocks(records[0], 16) {
                continue;
            }
            match verify_and_finished(cx.a, records.get(end..).unwrap_or_default(), padding) {
                Structure::Missing => {}
                Structure::Incomplete => incomplete = true,
                Structure::Found(length) => {
                    return Structure::Found(Reading::Flight {
                        auth: ClientAuth::Presented,
                        rule: Rule::CertificateVerify,
                        exact: padding == Padding::Bare,
                        end: end + length,
                    });
                }
            }
        }
    }
    if incomplete && !cx.ended { Structure::Incomplete } else { Structure::Missing }
}

/// Whether the first two records may be an empty Certificate and a Finished of a client that pads,
/// and are not the length of a raw public key and its signature.
fn is_empty_certificate_padded(a: Arithmetic, records: &[u16]) -> bool {
    let first = records[0];
    records.get(1).is_some_and(|&second| {
        second != first
            && a.may_be_padded_empty(first, second)
            && !a.is_raw_public_key(first, second)
    })
}

/// How many records the Certificate may take: as many as are as long as the first, and where it was
/// cut to that length, the shorter one after them as well.
fn certificate_ends(cx: Context<'_>, records: &[u16]) -> [usize; 2] {
    let first = records[0];
    let fragments = records.iter().take_while(|&&r| r == first).count();
    let is_cut = fragments > 1 || cx.a.is_full(first, cx.facts);
    let has_rest = is_cut && records.get(fragments).is_some_and(|&rest| rest < first);
    [fragments, fragments + usize::from(has_rest)]
}

/// How many records at the front are a CertificateVerify and a Finished under this padding.
fn verify_and_finished(a: Arithmetic, records: &[u16], padding: Padding) -> Structure<usize> {
    let Some(length) = a.certificate_verify(records, padding) else {
        // A signature may fill more records than there are.
        let may_go_on = records.iter().all(|&r| r == a.full());
        return if may_go_on { Structure::Incomplete } else { Structure::Missing };
    };
    match records.get(length) {
        None => Structure::Incomplete,
        Some(&finished) if finished == a.finished(padding) => Structure::Found(length + 1),
        Some(_) => Structure::Missing,
    }
}

const fn gcd(mut a: u16, mut b: u16) -> u16 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
