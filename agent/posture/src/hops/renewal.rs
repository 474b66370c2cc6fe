//! Certificates that come in the place of others.

use std::{sync::Arc, time::Duration};

use hopsight_core::tls::certificate_facts::CertificateFacts;
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::policy::certificate::ChainWord;

/// A certificate that was not seen for this long is replaced by a newer one of the same identity that
/// was accepted: it was renewed. While both are seen both are in use.
pub(super) const RENEWED_AFTER: Duration = Duration::from_mins(5);

/// The certificate that another came in the place of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewed {
    /// Its serial number.
    pub serial: String,
    /// The seconds of its validity that were left then; below 0 where it had ended.
    pub seconds_left: f64,
    /// The seconds of its validity in all; 0 where an agent that did not say it told so.
    #[serde(default)]
    pub lifetime_seconds: f64,
}

/// A certificate that came in the place of another, and that one.
pub(super) type Renewal = (Arc<CertificateFacts>, Renewed);

/// Whether one certificate, whose chain leads there, is for what the other is for. Who wears the names
/// of another is told from it by the issuer, unless it leads to what is trusted all the same. One of
/// another kind of key may be for other clients.
pub(super) fn is_for_the_same(
    one: &CertificateFacts,
    other: &CertificateFacts,
    chain: Option<ChainWord>,
) -> bool {
    // Behind those that are kept there are others.
    let are_all = |facts: &CertificateFacts| !facts.sans.iter().any(|san| san.starts_with('…'));
    one.subject == other.subject
        && !chain.is_some_and(ChainWord::is_broken)
        && are_all(one)
        && are_all(other)
        && !(one.subject.is_empty() && one.sans.is_empty())
        && one.public_key == other.public_key
        && (one.issuer == other.issuer || chain == Some(ChainWord::Trusted))
        && one.sorted_sans() == other.sorted_sans()
}

/// The one of these that a new certificate stands in the place of by now.
#[expect(clippy::cast_precision_loss, reason = "seconds of a few thousand years are exact")]
pub(super) fn renewed<'a>(
    all: impl Iterator<Item = &'a CertificateFacts>,
    new: &CertificateFacts,
    chain: Option<ChainWord>,
    now: Moment,
) -> Option<Renewed> {
    let is_older = |old: &&CertificateFacts| {
        is_for_the_same(new, old, chain) && old.not_before < new.not_before
    };
    let newest = all.filter(is_older).max_by_key(|old| old.not_before)?;
    Some(Renewed {
        serial: newest.serial.clone(),
        seconds_left: newest.not_after as f64 - now.unix_seconds,
        lifetime_seconds: newest.not_after.saturating_sub(newest.not_before) as f64,
    })
}
