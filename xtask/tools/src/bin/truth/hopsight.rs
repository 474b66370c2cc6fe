//! What hopsight says, by packets alone.

use std::path::Path;

use hopsight_capture::replay;
use hopsight_core::{
    model::{ClientAuth, Outcome, Security},
    report::ConnectionReport,
};
use hopsight_tools::truth::Answer;

use crate::Answers;

/// Its answers.
pub fn answers(file: &Path) -> anyhow::Result<Answers> {
    let mut answers = Answers::new();
    replay::replay(file, replay::limits(), &mut |report| {
        if let Ok(client) = report.src.parse() {
            answers.insert(client, answer(&report));
        }
        Ok(())
    })?;
    Ok(answers)
}

fn answer(report: &ConnectionReport) -> Answer {
    let is_refused = matches!(report.verdict.outcome, Outcome::Rejected | Outcome::Failed);
    match (report.verdict.security, report.verdict.client_auth) {
        (Security::Plaintext, _) => Answer::Plaintext,
        (Security::Mtls, _) if is_refused => Answer::OneWay,
        (Security::Mtls, _) => Answer::Mutual,
        (Security::Unknown, _) | (_, ClientAuth::Unknown) => Answer::Unknown,
        _ => Answer::OneWay,
    }
}
