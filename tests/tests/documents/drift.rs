//! DRIFT.md against the rules and the ends of drift.

use std::path::Path;

use hopsight_posture::policy::drift::{End, Rule};

use crate::{describes, document};

#[test]
fn every_rule_and_every_end_is_described() {
    let text = document("DRIFT.md");
    for rule in Rule::ALL {
        assert!(describes(&text, rule.as_str()), "{rule} is not in DRIFT.md");
    }
    for end in [End::Remediated, End::PolicyChanged, End::Forgotten] {
        let word = serde_json::to_value(end).unwrap();
        assert!(describes(&text, word.as_str().unwrap()), "{word} is not in DRIFT.md");
    }
}

#[test]
fn every_rule_has_a_runbook() {
    let text = document("DRIFT.md");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/docs");
    for rule in Rule::ALL {
        let begin = format!("| `{rule}` |");
        let line = text.lines().find(|line| line.starts_with(&begin)).unwrap_or_default();
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let runbooks: Vec<_> = links.filter(|link| link.contains("/runbooks/")).collect();
        assert!(!runbooks.is_empty(), "{rule} has no runbook");
        for runbook in runbooks {
            assert!(docs.join(runbook).exists(), "{rule}: {runbook} does not exist");
        }
    }
}
