//! What is said where there is no hop to show.

/// What is said instead of a table. `is_selection`: the hops are those that match something.
pub(super) const fn no_hops(is_selection: bool) -> &'static str {
    if is_selection {
        "no hops match: `hopsight hops` without --proxy, --upstream and --namespace shows all\n"
    } else {
        "no hops yet: no watched proxy has connected to an upstream\n"
    }
}

#[cfg(test)]
mod tests {
    use super::no_hops;

    #[test]
    fn no_hops_is_said() {
        assert!(no_hops(false).starts_with("no hops yet"));
        assert!(no_hops(true).starts_with("no hops match"));
    }
}
