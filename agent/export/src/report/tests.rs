use super::*;
use hopsight_core::model::ConnectionId;
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopContext, HopViolation},
        ends::Ends,
        evaluation::Evaluation,
        table::{HopLimits, HopTable},
        testing::{at, certificate, report, to},
        witness::{Losses, Watch, Witness},
    },
    policy::{
        drift::{Compliance, Rule},
        exempt::Exemptions,
    },
};

const BEGIN: f64 = 1_700_000_000.0;

fn answer(node: &str, table: &HopTable, seconds: f64, lost: u64) -> Source {
    let witness = Witness { node: Some(node.into()), ..Witness::default() };
    let watch = Watch {
        since: BEGIN,
        ready: true,
        impaired: Vec::new(),
        kernel_programs_sha256: Fingerprint::of(b"programs"),
        policy_sha256: None,
        events_received: 1,
        lost: Losses { events: lost, ..Losses::default() },
    };
    let snapshot = table.snapshot(seconds);
    let hops = Snapshot { witness: Some(witness), watch: Some(watch), ..snapshot };
    Source { name: format!("{node}-{seconds}.json"), hops }
}

fn connect(
    table: &mut HopTable,
    numbers: std::ops::Range<u64>,
    security: Security,
    upstream: &str,
) {
    for number in numbers {
        let mut report = to(report(number, security), upstream);
        report.connection = ConnectionId(number);
        if security != Security::Plaintext {
            report.server_certificate = Some(certificate("=upstream", 1_800_000_000).into());
        }
        let ends = Ends::of(&report);
        let is_exempt = upstream == "10.0.0.2:80";
        let compliance = is_exempt.then_some(Compliance::Exempt);
        let evaluation = Evaluation { compliance, ..Evaluation::default() };
        table.record_between(&ends, &report, evaluation, at(BEGIN + 1.0));
    }
}

/// One node: a hop in the clear that violates, one that is exempt, one that is mutual.
fn table() -> HopTable {
    let mut table = HopTable::new(HopLimits::default());
    connect(&mut table, 0..3, Security::Plaintext, "10.0.0.1:80");
    connect(&mut table, 3..5, Security::Plaintext, "10.0.0.2:80");
    connect(&mut table, 5..9, Security::Mtls, "10.0.0.3:443");
    let violation = HopViolation {
        rule: Rule::Plaintext,
        detail: "in the clear <b>".into(),
        place: None,
        since: BEGIN + 10.0,
        preexisting: false,
    };
    let compliance = |violations: Vec<HopViolation>, exemption| {
        Some(HopCompliance {
            status: Compliance::Violation,
            policy: "default".into(),
            violations,
            exemption,
        })
    };
    let file = "[[exempt]]\nname = \"old\"\nmatch.upstream = \"x\"\nrules = [\"plaintext\"]\nowner = \
                \"mainframe\"\nreason = \"soon\"\nuntil = 2024-01-01\n";
    let exemptions = Exemptions::parse(file).unwrap();
    let context = |compliance| HopContext { compliance, ..HopContext::default() };
    let hop = |table: &mut HopTable, upstream: &str, context: HopContext| {
        table.describe(&"nginx".into(), &upstream.into(), |_| context, at(BEGIN + 20.0));
    };
    hop(&mut table, "10.0.0.1:80", context(compliance(vec![violation], None)));
    let mut exempt = compliance(Vec::new(), exemptions.iter().next().cloned());
    if let Some(compliance) = &mut exempt {
        compliance.status = Compliance::Exempt;
    }
    hop(&mut table, "10.0.0.2:80", context(exempt));
    table
}

fn whole() -> Report {
    let mut table = table();
    let first = answer("node-1", &table, BEGIN + 100.0, 0);
    connect(&mut table, 20..30, Security::Mtls, "10.0.0.3:443");
    let second = answer("node-1", &table, BEGIN + 200.0, 2);
    let mut drift = DriftLog::default();
    for line in [
        // The one that is open, one that ended, and one that is long over.
        event("drift_opened", "10.0.0.1:80", BEGIN + 10.0, None),
        event("drift_opened", "10.0.0.3:443", BEGIN + 20.0, None),
        event("drift_closed", "10.0.0.3:443", BEGIN + 20.0, Some(BEGIN + 140.0)),
        event("drift_closed", "10.0.0.3:443", BEGIN - 90.0, Some(BEGIN - 10.0)),
        event("drift_opened", "10.0.0.9:443", BEGIN + 30.0, None),
        r#"{"time":"2023-11-14T22:13:20.000Z","event":"hop_changed"}"#.to_owned(),
    ] {
        assert!(drift.add(&line), "{line}");
    }
    assert!(!drift.add("not an event"));
    let material =
        Material { answers: vec![second, first], drift, from: None, to: Some(BEGIN + 200.0) };
    Report::of(material, BEGIN + 300.0)
}

fn event(word: &str, upstream: &str, since: f64, closed: Option<f64>) -> String {
    let end = closed.map_or_else(String::new, |closed| {
        format!(
            r#","closed_at":"{}","end":"remediated","open_seconds":{},"remediation_seconds":60.0"#,
            time::rfc3339(closed),
            closed - since
        )
    });
    let since = time::rfc3339(since);
    format!(
        r#"{{"time":"{since}","node":"node-1","event":"{word}","proxy":"nginx","upstream":"{upstream}","name":null,"rule":"plaintext","detail":"in the clear","place":null,"since":"{since}","detected_at":"{since}","changed_at":null,"preexisting":false,"server":"10.0.0.1:80","connections":1{end}}}"#
    )
}

#[test]
fn two_answers_of_a_node_say_what_happened_between_them() {
    let report = whole();
    let [node] = &report.nodes[..] else { panic!("{:?}", report.nodes) };
    assert_eq!((node.hops, node.coverage.known), (3, 10), "{node:?}");
    assert_eq!(
        (report.from, report.to),
        (time::rfc3339(BEGIN + 100.0), time::rfc3339(BEGIN + 200.0))
    );
    assert_eq!(report.summary.lost, 2);
    let mtls = report.summary.connections.iter().find(|kind| kind.security == Security::Mtls);
    assert_eq!(mtls.map(|kind| kind.connections), Some(10));
    let order: Vec<_> = report.hops.iter().map(|hop| &*hop.upstream).collect();
    assert_eq!(order, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:443"], "the worst first");
    assert_eq!(report.hops[2].known_connections, 10);
    assert_eq!(report.summary.hops[&Security::Plaintext], 2);
}

#[test]
fn drift_is_told_with_its_durations() {
    let report = whole();
    let entries: Vec<_> = report
        .drift
        .iter()
        .map(|entry| (&*entry.upstream, entry.state, entry.open_seconds))
        .collect();
    let want = [
        ("10.0.0.1:80", DriftState::Open, 190.0),
        ("10.0.0.9:443", DriftState::EndUntold, 170.0),
        ("10.0.0.3:443", DriftState::Closed, 120.0),
    ];
    assert_eq!(entries, want);
    assert!(report.drift[0].detected_at.is_some(), "an event told of it");
    assert_eq!(report.drift[2].remediation_seconds, Some(60.0));
    assert_eq!((report.summary.open_drifts, report.summary.closed_drifts), (1, 1));
}

#[test]
fn exemptions_have_an_owner_and_a_last_day() {
    let report = whole();
    let [line] = &report.exemptions[..] else { panic!("{:?}", report.exemptions) };
    assert_eq!((&*line.owner, &*line.last_day, line.has_ended), ("mainframe", "2024-01-01", false));
}

#[test]
fn answers_that_are_not_of_the_time_are_left_out_and_told() {
    let table = table();
    let answers = |name: &str| vec![answer(name, &table, BEGIN + 100.0, 0)];
    for (name, from, to, words) in [
        ("before", Some(BEGIN + 200.0), None, "from before the time"),
        ("after", None, Some(BEGIN + 50.0), "no answer from before the end"),
    ] {
        let material = Material { answers: answers("node-1"), from, to, ..Material::default() };
        let report = Report::of(material, BEGIN + 300.0);
        assert!(report.hops.is_empty() && report.notes[0].contains(words), "{name}: {report:?}");
        assert!(report.html(BEGIN).contains("There is no hop"), "{name}");
    }
    let single =
        Material { answers: answers("n"), from: Some(BEGIN + 50.0), ..Material::default() };
    assert!(Report::of(single, BEGIN).notes[0].contains("one answer alone"));
}

#[test]
fn the_page_escapes_and_loads_nothing() {
    let page = whole().html(BEGIN + 300.0);
    assert!(page.contains("in the clear &lt;b&gt;") && !page.contains("clear <b>"));
    for forbidden in ["http://", "https://", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for part in
        ["4.2.1.1", "12.3.3", "ID-SEG-REC-1", "Article 6", "Article 7", "KSI-SVC-SNT", "Not shown"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn tables_have_a_cell_for_each_heading() {
    let report = whole();
    for (table, lines) in
        [(Table::Hops, 3), (Table::Nodes, 1), (Table::Drift, 3), (Table::Exemptions, 1)]
    {
        let text = report.csv(table).unwrap();
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.records().count(), lines, "{table:?}: {text}");
    }
    let hops = report.csv(Table::Hops).unwrap();
    assert!(hops.contains(",plaintext,not_requested,wire,"), "{hops}");
}

#[test]
fn each_requirement_says_what_it_does_not_show() {
    let report = whole();
    assert_eq!(report.requirements.len(), 9);
    for one in &report.requirements {
        assert!(!one.shows.is_empty() && !one.does_not_show.is_empty(), "{one:?}");
    }
}
