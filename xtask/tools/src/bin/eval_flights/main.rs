//! Runs the flight classifier over recorded connections and compares it with their truth.
//!
//! `cargo run -p hopsight-tools --bin eval_flights -- FILE.jsonl`; exits 1 if any answer is wrong.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{BufRead, BufReader},
    process::ExitCode,
};

use anyhow::Context;
use hopsight_core::{
    model::{ClientAuth, Outcome},
    tls::flights::FlightVerdict,
};
use hopsight_tools::flights::{Row, Truth};

/// Columns of the confusion matrix.
const ANSWERS: [&str; 6] =
    ["not_requested", "requested_not_presented", "presented", "resumed", "failed", "unknown"];

/// Rows of the file, classified.
struct Evaluated {
    row: Row,
    verdict: FlightVerdict,
    outcome: Outcome,
}

impl Evaluated {
    fn new(row: Row) -> Self {
        let (verdict, outcome) = row
            .classify()
            .map_or((FlightVerdict::Pending, Outcome::Incomplete), |f| (f.verdict(), f.outcome()));
        Self { row, verdict, outcome }
    }

    fn answer(&self) -> &'static str {
        match self.verdict {
            FlightVerdict::Decided { client_auth, .. } => client_auth.as_str(),
            FlightVerdict::Resumed => "resumed",
            FlightVerdict::Failed { .. } => "failed",
            FlightVerdict::Pending | FlightVerdict::Ambiguous { .. } => "unknown",
        }
    }

    /// The rule or reason, as it would go into an event.
    fn evidence(&self) -> String {
        match (self.verdict, self.row.facts) {
            (FlightVerdict::Decided { rule, confidence, .. }, _) => format!("{rule}/{confidence}"),
            (FlightVerdict::Resumed, _) => "psk".to_owned(),
            (FlightVerdict::Failed { sign }, _) => sign.to_string(),
            (FlightVerdict::Ambiguous { why }, _) => why.to_string(),
            (FlightVerdict::Pending, Some(_)) => "pending".to_owned(),
            (FlightVerdict::Pending, None) => "no_server_hello".to_owned(),
        }
    }

    fn is_wrong(&self) -> bool {
        self.row.truth.is_contradicted_by(self.verdict, self.outcome)
    }

    /// No answer where the handshake gave one.
    fn is_unknown(&self) -> bool {
        self.verdict != FlightVerdict::Resumed && self.verdict.client_auth() == ClientAuth::Unknown
    }

    fn print(&self) {
        println!(
            "  line {} {}->{} truth {} answer {} ({}) {:?} [{}]",
            self.row.line,
            self.row.client_stack,
            self.row.server_stack,
            self.row.truth.as_str(),
            self.answer(),
            self.evidence(),
            self.row.notes,
            self.row.stream(),
        );
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let path = env::args_os().nth(1).context("name the file: eval_flights FILE.jsonl")?;
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut evaluated = Vec::new();
    for (line, json) in (1..).zip(BufReader::new(file).lines()) {
        let json = json.with_context(|| format!("read {}", path.display()))?;
        if !json.trim().is_empty() {
            let row = Row::parse(line, &json).with_context(|| format!("parse line {line}"))?;
            evaluated.push(Evaluated::new(row));
        }
    }
    print_matrix(&evaluated);
    print_stacks(&evaluated);
    print_counts("rules", &evaluated, Evaluated::evidence);
    print_counts("outcomes", &evaluated, |e| {
        format!("{} {} {}", e.row.truth.as_str(), e.answer(), e.outcome)
    });
    print_unknown(&evaluated);
    let wrong: Vec<_> = evaluated.iter().filter(|e| e.is_wrong()).collect();
    println!("\nwrong rows: {} of {}", wrong.len(), evaluated.len());
    for e in &wrong {
        e.print();
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_matrix(evaluated: &[Evaluated]) {
    print!("{:<12}", "truth");
    for answer in ANSWERS {
        print!(" {answer:>23}");
    }
    println!();
    let mut by_truth: BTreeMap<Truth, Vec<&Evaluated>> = BTreeMap::new();
    for e in evaluated {
        by_truth.entry(e.row.truth).or_default().push(e);
    }
    for (truth, of_truth) in by_truth {
        print!("{:<12}", truth.as_str());
        for answer in ANSWERS {
            print!(" {:>23}", of_truth.iter().filter(|e| e.answer() == answer).count());
        }
        println!();
    }
}

fn print_stacks(evaluated: &[Evaluated]) {
    let mut stacks: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for e in evaluated {
        let [rows, wrong, unknown] = stacks.entry(&e.row.client_stack).or_default();
        *rows += 1;
        *wrong += usize::from(e.is_wrong());
        *unknown += usize::from(e.row.is_plain() && e.is_unknown());
    }
    println!("\n{:<18} {:>6} {:>6} {:>8}", "client stack", "rows", "wrong", "unknown");
    for (stack, [rows, wrong, unknown]) in stacks {
        println!("{stack:<18} {rows:>6} {wrong:>6} {unknown:>8}");
    }
}

fn print_counts(title: &str, evaluated: &[Evaluated], key: impl Fn(&Evaluated) -> String) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for key in evaluated.iter().map(key) {
        *counts.entry(key).or_default() += 1;
    }
    println!("\n{title}");
    for (key, count) in counts {
        println!("{count:>6} {key}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
fn print_unknown(evaluated: &[Evaluated]) {
    let plain: Vec<_> = evaluated.iter().filter(|e| e.row.is_plain()).collect();
    let unknown: Vec<_> = plain.iter().filter(|e| e.is_unknown()).collect();
    let share = 100.0 * unknown.len() as f64 / plain.len().max(1) as f64;
    println!(
        "\nunknown among complete handshakes without deliberate padding: {} of {} ({share:.2} %)",
        unknown.len(),
        plain.len()
    );
    for e in unknown {
        e.print();
    }
}
