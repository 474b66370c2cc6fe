//! Which protocol versions a server may speak.

use crate::policy::intent::Setting;

/// In their order, as haproxy spells them after `ssl-min-ver`.
const VERSIONS: [&str; 5] = ["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
/// The same in `force-` and `no-`.
const SHORT: [&str; 5] = ["sslv3", "tlsv10", "tlsv11", "tlsv12", "tlsv13"];
/// The lowest that a library has by default is this or an older one.
const SURELY_BY_DEFAULT: usize = 3;

/// What is said of versions, as positions in [`VERSIONS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions {
    lowest: Option<usize>,
    highest: Option<usize>,
    excluded: [bool; 5],
    /// Where the last of it is said.
    at: Option<Setting<()>>,
}

impl Versions {
    /// `ssl-min-ver` or `ssl-max-ver`; says whether there is such a version.
    pub(super) fn bound(&mut self, is_lowest: bool, version: &str, at: Setting<()>) -> bool {
        let found = VERSIONS.iter().position(|known| *known == version);
        if is_lowest {
            self.lowest = found.or(self.lowest);
        } else {
            self.highest = found.or(self.highest);
        }
        self.at = Some(at);
        found.is_some()
    }

    /// `force-tlsv12` or `no-tlsv10`.
    pub(super) fn flag(&mut self, keyword: &str, at: Setting<()>) {
        let position = |short: &str| SHORT.iter().position(|known| *known == short);
        if let Some(only) = keyword.strip_prefix("force-").and_then(position) {
            (self.lowest, self.highest) = (Some(only), Some(only));
            self.at = Some(at);
        } else if let Some(none) = keyword.strip_prefix("no-").and_then(position) {
            self.excluded[none] = true;
            self.at = Some(at);
        }
    }

    /// The versions that may be spoken; `None` where the lowest depends on haproxy and its library.
    pub(super) fn said(&self) -> Option<Setting<Vec<String>>> {
        let at = self.at.clone()?.at;
        let highest = self.highest.unwrap_or(VERSIONS.len() - 1);
        // Beside bounds haproxy ignores what is excluded, and warns of it.
        let is_bounded = self.lowest.is_some() || self.highest.is_some();
        let allowed = |version: &usize| is_bounded || !self.excluded[*version];
        let value: Vec<_> = (self.lowest.unwrap_or(0)..=highest).filter(allowed).collect();
        let is_known =
            self.lowest.is_some() || value.first().is_some_and(|&low| low >= SURELY_BY_DEFAULT);
        let spelled = || value.iter().map(|&version| VERSIONS[version].to_owned()).collect();
        is_known.then(|| Setting { value: spelled(), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::intent::Place;

    #[test]
    fn versions() {
        let at = || Setting { value: (), at: Place { file: "a.cfg".into(), line: 1 } };
        for (keywords, expected) in [
            (&[][..], None),
            (&["TLSv1.2"], Some("TLSv1.2 TLSv1.3")),
            (&["max TLSv1.2"], None),
            (&["TLSv1.1", "max TLSv1.2"], Some("TLSv1.1 TLSv1.2")),
            (&["force-tlsv12"], Some("TLSv1.2")),
            (&["no-tlsv10"], None),
            (&["no-sslv3", "no-tlsv10", "no-tlsv11"], Some("TLSv1.2 TLSv1.3")),
            (&["TLSv1.0", "no-tlsv11"], Some("TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3")),
            (&["no-tlsv12", "TLSv1.2"], Some("TLSv1.2 TLSv1.3")),
            (&["force-tlsv12", "no-tlsv12"], Some("TLSv1.2")),
            (&["no-sslv3", "no-tlsv10", "no-tlsv11", "max TLSv1.2"], None),
        ] {
            let mut versions = Versions::default();
            for keyword in keywords {
                match keyword.strip_prefix("max ") {
                    Some(highest) => assert!(versions.bound(false, highest, at())),
                    None if keyword.starts_with("TLS") => {
                        assert!(versions.bound(true, keyword, at()));
                    }
                    None => versions.flag(keyword, at()),
                }
            }
            let said = versions.said().map(|setting| setting.value.join(" "));
            assert_eq!(said.as_deref(), expected, "{keywords:?}");
        }
        assert!(!Versions::default().bound(true, "TLSv9", at()));
    }
}
