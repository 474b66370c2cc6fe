//! `<Proxy>` sections, and which requests they are about (`proxy_walk` of `mod_proxy`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{directive::Directive, settings::first_setting, ways::Way};
use crate::policy::glob;

/// The sections of a server that say something of TLS, found by how the URLs begin that they are about:
/// there may be as many as ways to upstreams.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    all: Vec<&'a Directive>,
    /// Their positions by what is certain of the beginning.
    by_beginning: BTreeMap<&'a str, Vec<usize>>,
    /// How long the beginnings are that there are.
    lengths: BTreeSet<usize>,
    /// Those that may be about anything.
    expressions: Vec<usize>,
}

impl<'a> Sections<'a> {
    /// Those among these directives.
    pub(super) fn new(directives: &'a [Directive]) -> Self {
        let mut out = Self::default();
        for section in directives {
            let is_one = ["<proxy", "<proxymatch"].contains(&section.name.as_str());
            if !is_one || first_setting(&section.inside).is_none() {
                continue;
            }
            let position = out.all.len();
            match pattern(section) {
                None => continue,
                Some(Pattern::Expression(_)) => out.expressions.push(position),
                Some(Pattern::Url(pattern)) => {
                    let literal = literal(pattern);
                    out.by_beginning.entry(literal).or_default().push(position);
                    out.lengths.insert(literal.len());
                }
            }
            out.all.push(section);
        }
        out
    }

    /// Those that may be about the requests of a way, in their order: one begins as the other does.
    pub(super) fn about(&self, way: &Way<'_>) -> Vec<&'a Directive> {
        let url = way.url.text.as_str();
        let shorter = self.lengths.range(..=url.len()).filter_map(|&length| url.get(..length));
        let shorter = shorter.filter_map(|beginning| self.by_beginning.get(beginning));
        let longer = self.by_beginning.range::<str, _>((Bound::Excluded(url), Bound::Unbounded));
        let longer = longer.take_while(|(beginning, _)| beginning.starts_with(url));
        let found = shorter.chain(longer.map(|(_, positions)| positions)).flatten();
        let mut found: Vec<_> = found.chain(&self.expressions).copied().collect();
        found.sort_unstable();
        found.into_iter().map(|position| self.all[position]).collect()
    }
}

/// What a section is for.
enum Pattern<'a> {
    /// A URL, or the beginning of some, or a pattern with wildcards.
    Url(&'a str),
    /// A regular expression.
    Expression(&'a str),
}

fn pattern(section: &Directive) -> Option<Pattern<'_>> {
    match (section.name.as_str(), section.words.as_slice()) {
        ("<proxymatch", [pattern, ..]) => Some(Pattern::Expression(pattern)),
        (_, [mark, pattern, ..]) if mark == "~" => Some(Pattern::Expression(pattern)),
        (_, [pattern, ..]) => Some(Pattern::Url(pattern)),
        (_, []) => None,
    }
}

/// What comes before the first wildcard.
fn literal(pattern: &str) -> &str {
    pattern.find(['*', '?', '[', '\\']).map_or(pattern, |at| &pattern[..at])
}

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
    let pattern = match pattern(section) {
        None => return Fit::None,
        // Regular expressions are not evaluated, but for those that everything matches.
        Some(Pattern::Expression(expression)) => {
            let matches_all = ["", ".", ".*", "^", "^.*", "^.*$"].contains(&expression);
            return if matches_all { Fit::All } else { Fit::Some };
        }
        Some(Pattern::Url(pattern)) => pattern,
    };
    // What is certain is where the URLs of all its requests begin.
    let url = &way.url.text;
    let literal = literal(pattern);
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
                is_on: true,
                directive: &pass,
                url: url::parse(url, None).unwrap(),
                text: url.to_owned(),
                reach: Reach::Own,
                preserves_host: false,
            };
            let section = directive(section, words);
            assert_eq!(fit(&section, &way), expected, "{words:?} {url}");
            let with_settings =
                [Directive { inside: vec![directive("sslproxyverify", &[])], ..section }];
            let is_about = !Sections::new(&with_settings).about(&way).is_empty();
            assert!(is_about || expected == Fit::None, "{words:?} {url}: not found");
        }
    }

    #[test]
    fn sections_are_found_in_their_order() {
        let sections: Vec<_> = [
            ("<proxy", "https://a.internal/b/c"),
            ("<proxy", "https://b.internal/"),
            ("<proxymatch", "^https"),
            ("<proxy", "*"),
            ("<proxy", "https://a.internal/"),
            ("<location", "https://a.internal/"),
        ]
        .into_iter()
        .map(|(name, word)| Directive {
            inside: vec![directive("sslproxyverify", &["none"])],
            ..directive(name, &[word])
        })
        .collect();
        let bare = [directive("<proxy", &["https://a.internal/"])];
        let pass = directive("proxypass", &[]);
        let way = Way {
            is_on: true,
            directive: &pass,
            url: url::parse("https://a.internal/b", None).unwrap(),
            text: String::new(),
            reach: Reach::Own,
            preserves_host: false,
        };
        let found = Sections::new(&sections).about(&way);
        let words: Vec<_> = found.iter().map(|one| one.words[0].as_str()).collect();
        assert_eq!(words, ["https://a.internal/b/c", "^https", "*", "https://a.internal/"]);
        assert!(Sections::new(&bare).about(&way).is_empty(), "it says nothing of TLS");
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
