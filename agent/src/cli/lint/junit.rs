//! JUnit's XML: a test suite for the configuration, a test case for each upstream. There is no standard;
//! this is what Jenkins and GitLab read.

use std::{borrow::Cow, fmt::Write as _};

use super::Outcome;
use hopsight_posture::policy::lint::{Finding, State};

/// Writes it.
pub(super) fn render(outcome: &Outcome) -> String {
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    if let Some(fault) = &outcome.fault {
        let text = format!("{}: {}", fault.at, fault.text);
        cases.push(("configuration".to_owned(), vec![element("error", "refused", &text)]));
    }
    if let Some(why) = outcome.nothing_matched {
        cases.push(("policy".to_owned(), vec![element("failure", "nothing matched", why)]));
    }
    let mut findings = outcome.lint.findings.iter();
    for (name, count) in &outcome.lint.upstreams {
        let theirs = findings.by_ref().take(*count);
        cases.push((name.clone(), theirs.map(|one| of(one, outcome.allow_unknown)).collect()));
    }
    let bad = |what: &str| {
        let begins = format!("<{what} ");
        cases.iter().filter(|(_, of)| of.iter().any(|one| one.starts_with(&begins))).count()
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let file = escape(&outcome.configuration);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  <testsuite name=\"hopsight lint {file}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        cases.len(),
        bad("failure"),
        bad("error"),
        bad("skipped"),
    );
    for (name, elements) in &cases {
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"{}\">", escape(name));
        for element in elements {
            let _ = writeln!(out, "      {element}");
        }
        out.push_str("    </testcase>\n");
    }
    out + "  </testsuite>\n</testsuites>\n"
}

fn of(finding: &Finding, allow_unknown: bool) -> String {
    let what = match finding.state {
        State::Violation => "failure",
        State::Unknown if !allow_unknown => "failure",
        State::Unknown | State::Exempt => "skipped",
    };
    let message = format!("{}: {}: {}", finding.state, finding.rule.as_str(), finding.detail);
    let mend = finding.mend.as_deref().unwrap_or_default();
    element(what, &message, &format!("{}\n{mend}", finding.at))
}

fn element(what: &str, message: &str, text: &str) -> String {
    format!("<{what} message=\"{}\">{}</{what}>", escape(message), escape(text))
}

/// Text as an attribute or content. What XML 1.0 has no place for (section 2.2) is replaced.
pub(in crate::cli) fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !matches!(c, '&' | '<' | '>' | '"' | '\'') && !is_odd(c);
    if text.chars().all(is_plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if is_odd(c) => out.push('_'),
            c => out.push(c),
        }
    }
    out.into()
}

fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}')
}
