//! The demo's table: what is configured beside what the agent says.

use std::fmt::Write as _;

use hopsight::model::{Evidence, Reason, Security};

use crate::{agent::HopView, case::Version, topology::Hop};

/// One line.
#[derive(Debug)]
pub struct Row<'a> {
    hop: &'a Hop,
    view: Option<&'a HopView>,
    /// In what the agent's word differs from the truth; empty if it does not.
    pub mismatches: Vec<String>,
}

impl<'a> Row<'a> {
    /// Judges what the agent says of `hop`, if it says anything.
    #[must_use]
    pub fn new(hop: &'a Hop, view: Option<&'a HopView>) -> Self {
        let mismatches = match view {
            None => vec!["not seen".to_owned()],
            Some(view) => mismatches(hop, view),
        };
        Self { hop, view, mismatches }
    }

    /// An unknown that is honest: nothing shows this agent the inside of TLS 1.3.
    fn is_open(&self) -> bool {
        self.view.is_some_and(|view| is_encrypted(self.hop, view))
    }

    fn cells(&self) -> [String; 10] {
        let case = &self.hop.case;
        let known = |word: &dyn Fn(&HopView) -> String| self.view.map_or("-".to_owned(), word);
        let result = match (self.mismatches.as_slice(), self.is_open()) {
            ([], true) => "unknown".to_owned(),
            ([], false) => "ok".to_owned(),
            (mismatches, _) => format!("MISMATCH: {}", mismatches.join(", ")),
        };
        [
            case.name.to_owned(),
            known(&|view| view.proxy.clone()),
            self.hop.listen.to_string(),
            case.to_string(),
            known(&|view| view.last_verdict.security.to_string()),
            known(&|view| view.last_verdict.client_auth.to_string()),
            known(&|view| view.last_verdict.outcome.to_string()),
            known(&|view| evidence(view)),
            known(&|view| view.total().to_string()),
            result,
        ]
    }
}

/// The evidence, with the origin's where it was carried over.
fn evidence(view: &HopView) -> String {
    match (&view.carried_from, view.last_verdict.evidence) {
        (Some(origin), Evidence::Carried) => format!("carried ({})", origin.evidence),
        (_, evidence) => evidence.to_string(),
    }
}

fn is_encrypted(hop: &Hop, view: &HopView) -> bool {
    hop.case.version() == Some(Version::V13)
        && view.last_verdict.security == Security::Unknown
        && matches!(
            view.last_verdict.reason,
            Some(Reason::EncryptedHandshake | Reason::ResumedUnseen)
        )
}

fn mismatches(hop: &Hop, view: &HopView) -> Vec<String> {
    let (expected, verdict) = (hop.case.expected, view.last_verdict);
    let mut found = Vec::new();
    let mut compare = |what: &str, got: String, want: String| {
        if got != want {
            found.push(format!("{what} should be {want}"));
        }
    };
    if !is_encrypted(hop, view) {
        let auth = verdict.client_auth;
        compare("security", verdict.security.to_string(), expected.security.to_string());
        compare("client_auth", auth.to_string(), expected.client_auth.to_string());
        compare("outcome", verdict.outcome.to_string(), expected.outcome.to_string());
    }
    compare("proxy", view.proxy.clone(), hop.case.proxy.process_name().to_owned());
    compare("connections", view.total().to_string(), hop.case.requests.to_string());
    let resumed = if hop.case.reuse { hop.case.requests - 1 } else { 0 };
    compare("resumed", view.resumed_connections.to_string(), resumed.to_string());
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
        "EVIDENCE",
        "N",
        "RESULT",
    ];
    let lines: Vec<[String; 10]> =
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
