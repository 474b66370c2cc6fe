//! The flight classifier against recorded connections: in every order, cut anywhere, and padded.
//!
//! Runs over `fixture.jsonl` always, and over the shared recordings where they are present: in
//! `$HOPSIGHT_SHARED`, else in `shared` beside the workspace.

mod order;
mod padding;
mod random;
mod tickets;

use std::{fs, sync::LazyLock};

use hopsight_core::model::ClientAuth;
use hopsight_tools::flights::{Row, Truth};

/// The recordings to test with, the repository's own first.
static RECORDINGS: LazyLock<Vec<(&'static str, Vec<Row>)>> = LazyLock::new(recordings);

fn recordings() -> Vec<(&'static str, Vec<Row>)> {
    let mut recordings = vec![("fixture", parse(include_str!("fixture.jsonl")))];
    let shared = hopsight_test_support::shared();
    match fs::read_to_string(shared.join("data/tls13-flights.jsonl")) {
        Ok(text) => recordings.push(("shared", parse(&text))),
        Err(error) => hopsight_test_support::not_run(
            "foreign captures",
            &format!("{}: {error}", shared.display()),
        ),
    }
    recordings
}

fn parse(text: &str) -> Vec<Row> {
    (1..)
        .zip(text.lines())
        .map(|(line, json)| Row::parse(line, json).unwrap_or_else(|e| panic!("line {line}: {e}")))
        .collect()
}

/// No row is answered wrongly, and at most one in 200 that can be read is left open.
#[test]
fn truth() {
    for (name, rows) in RECORDINGS.iter() {
        let mut open = 0;
        for row in rows {
            let Some(flights) = row.classify() else { continue };
            let (verdict, outcome) = (flights.verdict(), flights.outcome());
            assert!(
                !row.truth.is_contradicted_by(verdict, outcome),
                "{name} line {}: {}->{} {:?} but {verdict:?}, {outcome}: {}",
                row.line,
                row.client_stack,
                row.server_stack,
                row.truth,
                row.stream()
            );
            let answered = row.truth == Truth::Psk || verdict.client_auth() != ClientAuth::Unknown;
            open += usize::from(row.is_plain() && !answered);
        }
        let plain = rows.iter().filter(|row| row.is_plain()).count();
        println!("{name}: {} rows, {plain} readable, {open} left open", rows.len());
        assert!(open * 200 <= plain, "{name}: {open} of {plain} left open");
    }
}
