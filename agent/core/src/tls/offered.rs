//! Versions and groups of a ClientHello, in one place: one is kept for each connection whose
//! handshake goes on.

use tls_parser::{TlsExtension, parse_tls_client_hello_extension};

use super::{group::NamedGroup, version::TlsVersion};

/// What a ClientHello offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// How many versions there are, the versions, the groups; nothing where neither is there.
    numbers: Box<[u16]>,
}

impl Offered {
    /// Of these, in their order.
    #[must_use]
    pub fn of(versions: &[TlsVersion], groups: impl Iterator<Item = NamedGroup>) -> Self {
        let count = u16::try_from(versions.len()).unwrap_or(u16::MAX);
        let versions = versions.iter().take(count.into()).map(|version| version.0);
        let groups = groups.map(|group| group.0);
        Self { numbers: std::iter::once(count).chain(versions).chain(groups).collect() }
    }

    fn parts(&self) -> (&[u16], &[u16]) {
        let (count, rest) = self.numbers.split_first().unwrap_or((&0, &[]));
        rest.split_at_checked(usize::from(*count)).unwrap_or((rest, &[]))
    }

    /// Versions, highest first, without GREASE.
    pub fn versions(&self) -> impl Iterator<Item = TlsVersion> {
        self.parts().0.iter().copied().map(TlsVersion)
    }

    /// Groups, most wanted first, without GREASE.
    pub fn groups(&self) -> impl Iterator<Item = NamedGroup> {
        self.parts().1.iter().copied().map(NamedGroup)
    }
}

/// The versions in a client's `supported_versions`, highest first, without GREASE.
pub(super) fn versions(whole: &[u8]) -> Option<Vec<TlsVersion>> {
    let Ok((_, TlsExtension::SupportedVersions(versions))) =
        parse_tls_client_hello_extension(whole)
    else {
        return None;
    };
    let mut versions: Vec<_> =
        versions.iter().map(|v| TlsVersion(v.0)).filter(|v| v.is_known()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    Some(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_groups_stay_apart() {
        let (versions, groups) = ([TlsVersion::TLS13, TlsVersion::TLS12], [29, 0x11ec]);
        let offered = Offered::of(&versions, groups.map(NamedGroup).into_iter());
        assert!(offered.versions().eq(versions));
        assert!(offered.groups().eq(groups.map(NamedGroup)));
        let nothing = Offered::default();
        assert!(nothing.versions().next().is_none() && nothing.groups().next().is_none());
    }
}
