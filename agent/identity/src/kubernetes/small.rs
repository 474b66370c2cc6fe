//! How much of the lists and texts of an object is kept: of one that has more nothing is known.

use hopsight_posture::workload::selector::Labels;

/// Entries of one list that are kept.
pub(super) const MAX_ENTRIES: usize = 64;
/// Bytes of one text that are kept.
pub(super) const MAX_TEXT_BYTES: usize = 1024;

pub(super) fn is_short(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES
}

pub(super) fn are_few(labels: &Labels) -> bool {
    labels.len() <= MAX_ENTRIES
        && labels.iter().all(|(key, value)| is_short(key) && is_short(value))
}
