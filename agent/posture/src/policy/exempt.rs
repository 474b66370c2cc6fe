//! Exemptions: who answers for a hop that is not what its policy requires, why, and until when.
//!
//! A policy file may hold `[[exempt]]` tables beside its `[[policies]]`. What is exempt opens no
//! drift and is not compliant either: it is shown as exempt, with its owner and its end. After that
//! day the exemption counts for nothing.

use std::{collections::HashSet, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use toml::{Spanned, value::Datetime};
use x509_parser::asn1_rs::{ASN1DateTime, ASN1TimeZone};

use super::{
    drift::Rule,
    rules::{Match, PolicyError, PolicySet, Subject},
    time::UnixTime,
};

/// Most exemptions of a file: each has a series in the metrics.
const MAX_EXEMPTIONS: usize = 1_000;
/// Longest text of an exemption in bytes.
const MAX_TEXT_BYTES: usize = 128;

/// One `[[exempt]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// Its name; `exempt-N` for the N-th if the file gives none.
    pub name: String,
    /// Line in the file where it begins, from 1.
    #[serde(skip)]
    pub line: u32,
    /// Which hops it is for.
    #[serde(skip)]
    pub matches: Match,
    /// What they may violate.
    pub rules: Vec<Rule>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is so.
    pub reason: String,
    /// When it ends, seconds since the Unix epoch: with the last day that the file names, in UTC.
    pub until: u64,
}

impl Exemption {
    /// Whether it is this one, wherever it stands in the file: hops that outlived a restart know no
    /// more of it than what is shown.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let shown = |one: &Self| (one.name.clone(), one.owner.clone(), one.reason.clone());
        shown(self) == shown(other) && self.rules == other.rules && self.until == other.until
    }

    /// Whether it no longer counts at `now`.
    #[must_use]
    pub const fn has_ended(&self, now: UnixTime) -> bool {
        now.as_secs() >= self.until
    }
}

/// The exemptions of a policy file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemptions(Vec<Arc<Exemption>>);

/// A policy file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDocument {
    /// The policies, the built-in ones last.
    pub policies: PolicySet,
    /// What need not meet them for now.
    pub exemptions: Exemptions,
}

impl PolicyDocument {
    /// Reads a policy file.
    ///
    /// # Errors
    /// What [`PolicySet::parse`] refuses, exemptions that say too little or too much, and a file that
    /// says nothing: it is more likely to be cut short than meant.
    pub fn parse(source: &str) -> Result<Self, PolicyError> {
        let says_nothing = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if source.lines().all(says_nothing) {
            let message =
                "the file is empty: for the built-in policies alone write `policies = []`";
            return Err(PolicyError::at(source, 0..0, message.into()));
        }
        Ok(Self { policies: PolicySet::parse(source)?, exemptions: Exemptions::parse(source)? })
    }

    /// The built-in policies alone.
    #[must_use]
    pub fn built_in() -> Self {
        Self { policies: PolicySet::built_in(), exemptions: Exemptions::default() }
    }
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    exempt: Vec<Spanned<RawExemption>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExemption {
    name: Option<Spanned<String>>,
    #[serde(rename = "match")]
    matches: Match,
    rules: Spanned<Vec<Rule>>,
    owner: Spanned<String>,
    reason: Spanned<String>,
    until: Spanned<Datetime>,
}

impl Exemptions {
    /// Reads those of a policy file; its policies are not looked at.
    ///
    /// # Errors
    /// Syntax, unknown keys, an exemption without owner, reason, rules or end, or for every hop.
    pub fn parse(source: &str) -> Result<Self, PolicyError> {
        let file: RawFile = toml::from_str(source).map_err(|error| {
            PolicyError::at(source, error.span().unwrap_or(0..0), error.message().to_owned())
        })?;
        let mut names = HashSet::new();
        let mut all = Vec::new();
        for (index, raw) in file.exempt.into_iter().enumerate() {
            let begin = PolicyError::header(source, raw.span());
            if index >= MAX_EXEMPTIONS {
                let message = format!("more than {MAX_EXEMPTIONS} exemptions: write a policy");
                return Err(PolicyError::at(source, begin, message));
            }
            let exemption = exemption(source, raw.into_inner(), index, begin.clone())?;
            if !names.insert(exemption.name.clone()) {
                let message = format!("another exemption is called \"{}\"", exemption.name);
                return Err(PolicyError::at(source, begin, message));
            }
            all.push(Arc::new(exemption));
        }
        Ok(Self(all))
    }

    /// Those that count at `now` for a violation of `rule` by this hop: the first one.
    #[must_use]
    pub fn find(&self, hop: &Subject<'_>, rule: Rule, now: UnixTime) -> Option<&Arc<Exemption>> {
        self.0.iter().find(|one| {
            !one.has_ended(now) && one.rules.contains(&rule) && one.matches.matches(hop)
        })
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Exemption>> {
        self.0.iter()
    }

    /// Those that count for nothing any more at `now`.
    pub fn ended(&self, now: UnixTime) -> impl Iterator<Item = &Arc<Exemption>> {
        self.0.iter().filter(move |one| one.has_ended(now))
    }
}

fn exemption(
    source: &str,
    raw: RawExemption,
    index: usize,
    begin: Range<usize>,
) -> Result<Exemption, PolicyError> {
    let error = |span, message: &str| PolicyError::at(source, span, message.to_owned());
    let line = PolicyError::position(source, begin.start).0;
    if raw.matches == Match::default() {
        return Err(error(begin, "an exemption for every hop is a policy: say which hops (match)"));
    }
    if raw.rules.get_ref().is_empty() {
        return Err(error(raw.rules.span(), "say which rules may be violated"));
    }
    let text = |text: Spanned<String>| {
        let span = text.span();
        let text = text.into_inner();
        let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
        if is_plain && text.len() <= MAX_TEXT_BYTES {
            return Ok(text);
        }
        Err(error(span, &format!("one line of text, of at most {MAX_TEXT_BYTES} bytes")))
    };
    let until_span = raw.until.span();
    let until = end_of_day(raw.until.get_ref())
        .ok_or_else(|| error(until_span, "the last day it holds, as a date: 2027-03-31"))?;
    Ok(Exemption {
        name: raw.name.map_or_else(|| Ok(format!("exempt-{}", index + 1)), text)?,
        line,
        matches: raw.matches,
        rules: raw.rules.into_inner(),
        owner: text(raw.owner)?,
        reason: text(raw.reason)?,
        until,
    })
}

/// The first moment after a date, in UTC; `None` if it is none, or one with a time.
fn end_of_day(day: &Datetime) -> Option<u64> {
    let Datetime { date: Some(date), time: None, offset: None } = day else { return None };
    let (year, utc) = (date.year.into(), ASN1TimeZone::Z);
    let midnight = ASN1DateTime::new(year, date.month, date.day, 0, 0, 0, None, utc);
    let seconds = midnight.to_datetime().ok()?.unix_timestamp();
    u64::try_from(seconds).ok()?.checked_add(24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[[policies]]
require = "mtls"

[[exempt]]
name = "mainframe"
match.proxy = "shop/edge"
match.upstream = "legacy-*"
rules = ["plaintext"]
owner = "payments team"
reason = "TLS comes with the new mainframe"
until = 2027-03-31
"#;

    fn hop<'a>(proxy: &'a str, upstream: &'a str) -> Subject<'a> {
        let address = [10, 0, 0, 1].into();
        Subject { proxy, process: proxy, upstream, namespace: None, address, port: 80 }
    }

    #[test]
    fn it_counts_for_its_hops_its_rules_and_until_its_end() {
        let file = PolicyDocument::parse(WHOLE).unwrap();
        // `date -u -d 2027-04-01 +%s`
        let end = UnixTime::from_secs(1_806_537_600);
        let before = UnixTime(end.0 - 1);
        let (edge, other) = (hop("shop/edge", "legacy-1"), hop("shop/other", "legacy-1"));
        for (name, hop, rule, now, counts) in [
            ("its hop", edge, Rule::Plaintext, before, true),
            ("another rule", edge, Rule::NeverRequested, before, false),
            ("another proxy", other, Rule::Plaintext, before, false),
            ("after its last day", edge, Rule::Plaintext, end, false),
        ] {
            let found = file.exemptions.find(&hop, rule, now);
            assert_eq!(found.is_some(), counts, "{name}: {found:?}");
        }
        assert_eq!(file.exemptions.ended(before).count(), 0);
        assert_eq!(file.exemptions.ended(end).count(), 1);
        let [one] = &file.exemptions.0[..] else { panic!("{file:?}") };
        assert_eq!(
            (one.name.as_str(), one.line, one.owner.as_str()),
            ("mainframe", 5, "payments team")
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let with = |line: &str, instead: &str| WHOLE.replace(line, instead);
        for (name, text, line, words) in [
            ("no owner", with("owner = \"payments team\"\n", ""), 5, "missing field `owner`"),
            ("an empty owner", with("payments team", " "), 10, "one line of text"),
            ("a reason of two lines", with("TLS comes", "a\\nb"), 11, "one line of text"),
            ("no end", with("until = 2027-03-31\n", ""), 5, "missing field `until`"),
            ("an end with a time", with("2027-03-31", "2027-03-31T10:00:00Z"), 12, "as a date"),
            ("no day", with("2027-03-31", "2027-02-29"), 12, ""),
            ("no rule", with("[\"plaintext\"]", "[]"), 9, "which rules"),
            (
                "an unknown rule",
                with("[\"plaintext\"]", "[\"plain\"]"),
                9,
                "unknown variant `plain`",
            ),
            (
                "every hop",
                with("match.proxy = \"shop/edge\"\nmatch.upstream = \"legacy-*\"", "match = {}"),
                5,
                "every hop",
            ),
            ("an unknown key", with("owner =", "boss = 1\nowner ="), 10, "unknown field `boss`"),
        ] {
            let error = PolicyDocument::parse(&text).unwrap_err();
            assert!(error.message.contains(words), "{name}: {error}");
            assert_eq!(error.line, line, "{name}: {error}");
        }
        let twice = format!("{WHOLE}{}", &WHOLE[WHOLE.find("[[exempt").unwrap()..]);
        let error = PolicyDocument::parse(&twice).unwrap_err();
        assert!(error.message.contains("\"mainframe\""), "{error}");
    }
}
