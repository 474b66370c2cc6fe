//! `<Proxy>` sections, and which requests they are about (`proxy_walk` of `mod_proxy`).

use super::{directive::Directive, ways::Way};
use crate::policy::glob;

/// Whether a section is about the requests of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// All of them.
    All,
    /// Some, or it is not known.
    Some,
    None,
}

/// Whether a `<Proxy>` or `<ProxyMatch>` is about the requests of `way`.
pub(super) fn fit(section: &Directive, way: &Way<'_>) -> Fit {
    let (pattern, is_expression) = match (section.name.as_str(), section.words.as_slice()) {
        ("<proxymatch", [pattern, ..]) => (pattern, true),
        (_, [mark, pattern, ..]) if mark == "~" => (pattern, true),
        (_, [pattern, ..]) => (pattern, false),
        (_, []) => return Fit::None,
    };
    if is_expression {
        // Regular expressions are not evaluated, but for those that everything matches.
        let matches_all = ["", ".", ".*", "^", "^.*", "^.*$"].contains(&pattern.as_str());
        return if matches_all { Fit::All } else { Fit::Some };
    }
    // What is certain is where the URLs of all its requests begin.
    let url = &way.url.text;
    let literal = pattern.find(['*', '?', '[', '\\']).map_or(pattern.as_str(), |at| &pattern[..at]);
    let is_pattern = literal.len() < pattern.len();
    if !is_pattern && url.starts_with(literal) {
        return Fit::All;
    }
    if is_pattern && pattern.ends_with('*') && glob::matches(pattern, url) {
        return Fit::All;
    }
    let may_go_on = literal.starts_with(url.as_str()) || url.starts_with(literal);
    if may_go_on { Fit::Some } else { Fit::None }
}

/// The balancer that a section is of, by its name.
pub(super) fn balancer(section: &Directive) -> Option<String> {
    let [name, ..] = section.words.as_slice() else { return None };
    let (scheme, rest) = name.split_once("://")?;
    let name = rest.split(['/', '?']).next().filter(|name| !name.is_empty())?;
    (section.name == "<proxy" && scheme.eq_ignore_ascii_case("balancer"))
        .then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{
        apache::{url, ways::Reach},
        intent::Place,
    };

    fn directive(name: &str, words: &[&str]) -> Directive {
        Directive {
            name: name.to_owned(),
            written: name.to_owned(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            at: Place { file: "httpd.conf".into(), line: 1 },
            conditions: Arc::default(),
            inside: Vec::new(),
        }
    }

    #[test]
    fn sections_fit_where_they_fit_every_request() {
        let pass = directive("proxypass", &[]);
        for (section, words, url, expected) in [
            ("<proxy", &["*"][..], "https://a.internal/", Fit::All),
            ("<proxy", &["https://a.internal/"], "https://a.internal/b/", Fit::All),
            ("<proxy", &["https://a.internal"], "https://a.internal/", Fit::All),
            ("<proxy", &["https://a.internal/b"], "https://a.internal/", Fit::Some),
            ("<proxy", &["https://b.internal/"], "https://a.internal/", Fit::None),
            ("<proxy", &["https://*.internal/*"], "https://a.internal/", Fit::All),
            ("<proxy", &["https://*.internal/x"], "https://a.internal/", Fit::Some),
            ("<proxy", &["http://*"], "https://a.internal/", Fit::None),
            ("<proxy", &["balancer://app"], "balancer://app/", Fit::All),
            ("<proxy", &["https://10.0.0.1/"], "balancer://app/", Fit::None),
            ("<proxy", &["https://a.internal/"], "https://$1.internal/", Fit::Some),
            ("<proxymatch", &["^https://a"], "https://a.internal/", Fit::Some),
            ("<proxymatch", &[".*"], "https://a.internal/", Fit::All),
            ("<proxy", &["~", "^https"], "http://a.internal/", Fit::Some),
            ("<proxy", &[], "http://a.internal/", Fit::None),
        ] {
            let way = Way {
                directive: &pass,
                url: url::parse(url, None).unwrap(),
                text: url.to_owned(),
                reach: Reach::Own,
                preserves_host: false,
            };
            assert_eq!(fit(&directive(section, words), &way), expected, "{words:?} {url}");
        }
    }

    #[test]
    fn sections_are_of_balancers() {
        for (section, words, expected) in [
            ("<proxy", &["balancer://App"][..], Some("app")),
            ("<proxy", &["balancer://app/", "lbmethod=byrequests"], Some("app")),
            ("<proxy", &["balancer://"], None),
            ("<proxy", &["https://app"], None),
            ("<proxymatch", &["balancer://app"], None),
            ("<proxy", &[], None),
        ] {
            assert_eq!(balancer(&directive(section, words)).as_deref(), expected, "{words:?}");
        }
    }
}
