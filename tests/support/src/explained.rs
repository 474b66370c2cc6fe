//! Lists of differences from somebody else's truth, each with its reason.

use std::fmt::Debug;

/// Which entries of such a list were needed: one that is not explains nothing, and would hide the
/// next difference at its place.
#[derive(Debug)]
pub struct Explained<'l, T> {
    list: &'l [T],
    needed: Vec<bool>,
}

impl<'l, T: Debug> Explained<'l, T> {
    /// A list of which nothing was needed yet.
    #[must_use]
    pub fn new(list: &'l [T]) -> Self {
        Self { list, needed: vec![false; list.len()] }
    }

    /// Whether an entry explains a difference: the first one that `is_this` accepts.
    pub fn explains(&mut self, is_this: impl Fn(&T) -> bool) -> bool {
        let at = self.list.iter().position(is_this);
        if let Some(at) = at {
            self.needed[at] = true;
        }
        at.is_some()
    }

    /// To be called last.
    ///
    /// # Panics
    /// If an entry was not needed.
    pub fn assert_none_is_stale(&self) {
        let entries = self.list.iter().zip(&self.needed);
        let stale: Vec<_> =
            entries.filter(|(_, needed)| !**needed).map(|(entry, _)| entry).collect();
        assert!(
            stale.is_empty(),
            "known differences that are none, or no longer there: {stale:#?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[(&str, &str)] = &[("a.pcap", "why"), ("planted.pcap", "why not")];

    #[test]
    fn what_is_needed_is_not_stale() {
        let mut explained = Explained::new(LIST);
        assert!(explained.explains(|entry| entry.0 == "a.pcap"));
        assert!(explained.explains(|entry| entry.0 == "planted.pcap"));
        assert!(!explained.explains(|entry| entry.0 == "b.pcap"));
        explained.assert_none_is_stale();
    }

    #[test]
    #[should_panic(expected = "planted.pcap")]
    fn a_planted_entry_fails() {
        let mut explained = Explained::new(LIST);
        assert!(explained.explains(|entry| entry.0 == "a.pcap"));
        explained.assert_none_is_stale();
    }
}
