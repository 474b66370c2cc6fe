//! Whether statements are one chain, each after the one before it.

use hopsight_core::tls::fingerprint::Fingerprint;

use super::{
    account::Account,
    refusal::{Refusal, RefusalKind},
};

/// One statement of a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// Digest of the statement.
    pub sha256: Fingerprint,
    /// What it says.
    pub account: Account,
}

/// What is wrong with where the statement at `at` stands among `links`, which are in the order of
/// their numbers. A chain begins with number 1, or behind the statement `after`.
#[must_use]
pub fn broken(links: &[Link], at: usize, after: Option<Fingerprint>) -> Option<Refusal> {
    let Account { number, previous, at: time, .. } = &links[at].account;
    let before = at.checked_sub(1).and_then(|before| links.get(before));
    let Some(before) = before else {
        return begins(*number, *previous, after);
    };
    let expected = before.account.number.saturating_add(1);
    let detail = if *number < expected {
        format!("two statements are number {number}")
    } else if *number > expected {
        let last = number - 1;
        let which = if expected == last {
            format!("statement {expected} is")
        } else {
            format!("statements {expected} to {last} are")
        };
        format!("{which} missing before number {number}")
    } else if *previous != Some(before.sha256) {
        let previous = previous.map_or("none".to_owned(), |sha256| sha256.to_string());
        let there = before.sha256;
        format!("number {number} follows {previous}, and number {} is {there}", number - 1)
    } else if *time < before.account.at {
        format!("number {number} is older than the one before it")
    } else {
        return None;
    };
    Some(Refusal::new(RefusalKind::ChainBroken, detail))
}

fn begins(
    number: u64,
    previous: Option<Fingerprint>,
    after: Option<Fingerprint>,
) -> Option<Refusal> {
    let detail = match (after, previous) {
        (None, None) if number == 1 => return None,
        (Some(after), Some(previous)) if after == previous => return None,
        (Some(after), previous) => {
            let previous = previous.map_or("none".to_owned(), |sha256| sha256.to_string());
            format!("the first statement here, number {number}, follows {previous}, not {after}")
        }
        (None, _) => format!(
            "the first statement here is number {number}: name those before it, or the digest of \
             the last of them (--after)"
        ),
    };
    Some(Refusal::new(RefusalKind::ChainBegin, detail))
}
