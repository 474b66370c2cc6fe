//! For people: what was looked at, and every reason against it.

use std::fmt::Write as _;

use super::{Outcome, Verified, VerifyArgs};
use hopsight_posture::{audit::require::Demand, hops::labels::printable};

/// Longest line about one reason, in bytes.
const MAX_LINE: usize = 1_024;

/// Writes it.
pub(super) fn render(outcome: &Outcome, args: &VerifyArgs) -> String {
    let mut out = String::new();
    for one in &outcome.statements {
        statement(&mut out, one);
    }
    let demands: Vec<_> = args.require.iter().copied().map(Demand::as_str).collect();
    let (statements, refusals) = (
        outcome.statements.len(),
        outcome.statements.iter().map(|one| one.refusals.len()).sum::<usize>(),
    );
    // Writing to a String cannot fail.
    let _ = if outcome.passes {
        writeln!(out, "passes: {} in {statements} statements", demands.join(", "))
    } else {
        writeln!(out, "refused: {refusals} reasons in {statements} statements")
    };
    out
}

fn statement(out: &mut String, one: &Verified) {
    let file = printable(&one.file, MAX_LINE);
    let _ = match (one.number, &one.from, &one.to) {
        (Some(number), Some(from), Some(to)) => writeln!(
            out,
            "{file}: number {number}, {from} to {to}: {} nodes, {} hops{}, {} of {} connections known",
            one.nodes,
            one.hops,
            if one.exempt > 0 { format!(" ({} exempt)", one.exempt) } else { String::new() },
            one.known_connections,
            one.known_connections + one.unknown_connections,
        ),
        _ => writeln!(out, "{file}: not opened"),
    };
    for refusal in &one.refusals {
        let line = refusal.to_string();
        let _ = writeln!(out, "  {}: {}", refusal.kind, printable(&line, MAX_LINE));
    }
}
