//! The demo's table: what is configured beside what the agent says.

use std::fmt::Write as _;

use hopsight_core::model::{Evidence, Security};
use hopsight_posture::hops::{counts::Tally, hop::Hop as View};

use crate::topology::Hop;

/// One line.
#[derive(Debug)]
pub struct Row<'a> {
    hop: &'a Hop,
    view: Option<&'a View>,
    /// In what the agent's answer differs from the truth; empty if it does not.
    pub mismatches: Vec<String>,
}

impl<'a> Row<'a> {
    /// Judges what the agent says of `hop`, if it says anything.
    #[must_use]
    pub fn new(hop: &'a Hop, view: Option<&'a View>) -> Self {
        let mismatches = match view {
            None => vec!["not seen".to_owned()],
            Some(view) => mismatches(hop, view),
        };
        Self { hop, view, mismatches }
    }

    fn cells(&self) -> [String; 11] {
        let case = &self.hop.case;
        let known = |word: &dyn Fn(&View) -> String| self.view.map_or("-".to_owned(), word);
        let result = match self.mismatches.as_slice() {
            [] => "ok".to_owned(),
            mismatches => format!("MISMATCH: {}", mismatches.join(", ")),
        };
        [
            case.name.to_owned(),
            known(&|view| view.proxy.to_string()),
            self.hop.listen.to_string(),
            case.to_string(),
            known(&|view| view.last_verdict.security.to_string()),
            known(&|view| view.last_verdict.client_auth.to_string()),
            known(&|view| view.last_verdict.outcome.to_string()),
            known(&|view| view.last_verdict.server_verified.to_string()),
            known(&|view| evidence(view)),
            known(&|view| total(view).to_string()),
            result,
        ]
    }
}

/// The evidence, with the origin's where it was carried over.
fn evidence(view: &View) -> String {
    match (&view.state.carried_from, view.last_verdict.evidence) {
        (Some(origin), Evidence::Carried) => format!("carried ({})", origin.evidence),
        (_, evidence) => evidence.to_string(),
    }
}

/// Finished connections.
fn total(view: &View) -> u64 {
    view.counts.connections.iter().map(|tally| tally.connections).sum()
}

fn mismatches(hop: &Hop, view: &View) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, got: String, want: String| {
        if got != want {
            found.push(format!("{what} {got}, should be {want}"));
        }
    };
    let expected = hop.case.expected;
    for Tally { security, client_auth, outcome, .. } in &view.counts.connections {
        if hop.case.is_inferred() && *security == Security::Unknown {
            continue;
        }
        compare("security", security.to_string(), expected.security.to_string());
        compare("client_auth", client_auth.to_string(), expected.client_auth.to_string());
        compare("outcome", outcome.to_string(), expected.outcome.to_string());
    }
    let verified = view.last_verdict.server_verified;
    if hop.case.contradicts(verified) {
        compare("verified", verified.to_string(), "otherwise".to_owned());
    }
    compare("proxy", view.proxy.to_string(), hop.case.proxy.process_name().to_owned());
    compare("connections", total(view).to_string(), hop.case.requests.to_string());
    let resumed = if hop.case.reuse { hop.case.requests - 1 } else { 0 };
    compare("resumed", view.counts.resumed_connections.to_string(), resumed.to_string());
    found
}

/// The table as text.
#[must_use]
pub fn render(rows: &[Row<'_>]) -> String {
    let head = [
        "HOP",
        "PROXY",
        "UPSTREAM",
        "CONFIGURED",
        "SECURITY",
        "CLIENT_AUTH",
        "OUTCOME",
        "VERIFIED",
        "EVIDENCE",
        "N",
        "RESULT",
    ];
    let lines: Vec<[String; 11]> =
        std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (column, cell) in line.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(padded, "{cell:<width$}  ", width = width(column));
        }
        text += padded.trim_end();
        text.push('\n');
    }
    text
}
