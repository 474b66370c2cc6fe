use hopsight_core::{
    model::{Evidence, Outcome, Reason, Security, ServerVerified},
    report::{CarriedBy, ConnectionReport},
    tls::fingerprint::Fingerprint,
};

use super::{
    account::{ACCOUNT_VERSION, Account, NodeAccount},
    chain::{Link, broken},
    judge::{Judgement, judge},
    refusal::RefusalKind,
    require::{Demand, Requirements},
};
use crate::{
    hops::{
        context::{HopCompliance, HopContext},
        ends::Ends,
        evaluation::Evaluation,
        table::{HopLimits, HopTable, Snapshot},
        testing::{at, carried, rejected, report, to},
        witness::{Losses, Watch, Witness},
    },
    policy::{
        drift::{Compliance, Rule},
        exempt::Exemptions,
    },
};

/// When the agent began, and when it answers the first and the second time.
const BEGIN: f64 = 1_000.0;
const FIRST: f64 = 2_000.0;
const SECOND: f64 = 3_000.0;

fn watch() -> Watch {
    Watch {
        since: BEGIN,
        ready: true,
        impaired: Vec::new(),
        kernel_programs_sha256: Fingerprint::of(b"programs"),
        policy_sha256: None,
        events_received: 100,
        lost: Losses::default(),
    }
}

fn node(name: &str, table: &HopTable, answered: f64) -> NodeAccount {
    let witness = Witness { node: Some(name.into()), ..Witness::default() };
    let snapshot =
        Snapshot { witness: Some(witness), watch: Some(watch()), ..table.snapshot(answered) };
    NodeAccount::of("file.json", Fingerprint::of(name.as_bytes()), snapshot)
}

fn account(number: u64, nodes: Vec<NodeAccount>) -> Account {
    Account {
        account_version: ACCOUNT_VERSION,
        number,
        previous: None,
        written_by: "hopsight test".into(),
        time: "1970-01-01T00:00:00.000Z".into(),
        at: nodes.first().map_or(0.0, |node| node.at),
        missing_nodes: Vec::new(),
        nodes,
    }
}

fn table(reports: impl IntoIterator<Item = ConnectionReport>) -> HopTable {
    let mut table = HopTable::new(HopLimits::default());
    add(&mut table, reports, BEGIN + 1.0);
    table
}

fn add(table: &mut HopTable, reports: impl IntoIterator<Item = ConnectionReport>, seconds: f64) {
    for report in reports {
        table.record_between(&Ends::of(&report), &report, Evaluation::default(), at(seconds));
    }
}

fn mutual(number: u64) -> ConnectionReport {
    let mut report = report(number, Security::Mtls);
    report.verdict.server_verified = ServerVerified::Yes;
    report
}

/// The account of one node with these reports.
fn of(reports: impl IntoIterator<Item = ConnectionReport>) -> Account {
    account(1, vec![node("node-1", &table(reports), FIRST)])
}

fn kinds(judgement: &Judgement) -> Vec<RefusalKind> {
    judgement.refusals.iter().map(|refusal| refusal.kind).collect()
}

fn unknown(number: u64, reason: Reason) -> ConnectionReport {
    let mut report = report(number, Security::Unknown);
    report.verdict.reason = Some(reason);
    report.verdict.outcome = Outcome::Incomplete;
    report
}

#[test]
fn what_is_good_passes_and_says_what_was_looked_at() {
    let judgement = judge(None, &of([mutual(1), mutual(2)]), &Requirements::default());
    assert_eq!(kinds(&judgement), [], "{judgement:?}");
    assert_eq!((judgement.nodes, judgement.hops, judgement.coverage.known), (1, 1, 2));
    assert_eq!((judgement.from, judgement.to), (BEGIN, FIRST));
}

#[test]
fn each_hole_is_refused_with_its_reason() {
    type Change = fn(&mut Account);
    let cases: [(&str, Change, RefusalKind); 9] = [
        ("no node", |all| all.nodes.clear(), RefusalKind::Nothing),
        ("no hop", |all| all.nodes[0].hops.clear(), RefusalKind::Nothing),
        ("no connection", |all| all.nodes[0].hops[0].connections.clear(), RefusalKind::Nothing),
        ("no word of the agent", |all| all.nodes[0].watch = None, RefusalKind::WatchUnknown),
        ("not ready", |all| edit(all).ready = false, RefusalKind::NotReady),
        ("a lost event", |all| edit(all).lost.events = 1, RefusalKind::Lost),
        ("a report not evaluated", |all| edit(all).lost.evaluations = 1, RefusalKind::Lost),
        (
            "a full table",
            |all| all.nodes[0].totals.overflowed_connections = 1,
            RefusalKind::TableFull,
        ),
        (
            "a node that is missing",
            |all| all.missing_nodes.push("node-2".into()),
            RefusalKind::NodeMissing,
        ),
    ];
    for (name, change, want) in cases {
        let mut account = of([mutual(1)]);
        change(&mut account);
        let judgement = judge(None, &account, &Requirements::default());
        assert!(kinds(&judgement).contains(&want), "{name}: {judgement:?}");
    }
}

fn edit(account: &mut Account) -> &mut Watch {
    account.nodes[0].watch.as_mut().unwrap()
}

#[test]
fn what_is_required_is_required() {
    let good = || of([mutual(1)]);
    let required = Requirements::default;
    let other = Fingerprint::of(b"another policy");
    for (name, account, required, want) in [
        (
            "a node by name",
            good(),
            Requirements { nodes: vec!["node-2".into()], ..required() },
            RefusalKind::NodeMissing,
        ),
        ("two hops", good(), Requirements { min_hops: 2, ..required() }, RefusalKind::Nothing),
        (
            "a policy",
            good(),
            Requirements { policy: Some(other), ..required() },
            RefusalKind::AnotherPolicy,
        ),
        (
            "evidence",
            good(),
            Requirements { min_evidence: Evidence::Library, ..required() },
            RefusalKind::Evidence,
        ),
        (
            "compliance",
            good(),
            Requirements { demands: vec![Demand::Compliant], ..required() },
            RefusalKind::NotCompliant,
        ),
        ("mutual", of([report(1, Security::Tls)]), required(), RefusalKind::Security),
        (
            "any TLS",
            of([report(1, Security::Plaintext)]),
            Requirements { demands: vec![Demand::Tls], ..required() },
            RefusalKind::Security,
        ),
        (
            "verification",
            of([report(1, Security::Mtls)]),
            Requirements { demands: vec![Demand::Verified], ..required() },
            RefusalKind::NotVerified,
        ),
        (
            "coverage",
            of((0..9).map(mutual).chain([unknown(9, Reason::Truncated)])),
            Requirements { min_coverage: 0.91, ..required() },
            RefusalKind::Coverage,
        ),
        (
            "a hop that is known",
            of([mutual(1), to(unknown(2, Reason::MidStream), "10.0.0.2:443")]),
            required(),
            RefusalKind::HopUnknown,
        ),
        (
            "a hop that works",
            of([mutual(1), rejected(to(mutual(2), "10.0.0.2:443"))]),
            required(),
            RefusalKind::HopUnknown,
        ),
    ] {
        let judgement = judge(None, &account, &required);
        assert!(kinds(&judgement).contains(&want), "{name}: {judgement:?}");
    }
    let enough = Requirements { min_coverage: 0.9, ..required() };
    let nine_of_ten = of((0..9).map(mutual).chain([unknown(9, Reason::Truncated)]));
    assert_eq!(kinds(&judge(None, &nine_of_ten, &enough)), []);
}

#[test]
fn a_hop_that_was_worse_in_that_time_does_not_pass_though_it_is_good_now() {
    // The plain treatment is long out of use.
    let mut table = HopTable::new(HopLimits {
        treatment_stands_for: std::time::Duration::from_secs(10),
        ..HopLimits::default()
    });
    add(&mut table, [to(report(1, Security::Plaintext), "10.0.0.1:443")], BEGIN);
    add(&mut table, [mutual(2)], FIRST - 1.0);
    let first = account(1, vec![node("node-1", &table, FIRST)]);
    assert_eq!(first.nodes[0].hops[0].security, Security::Mtls);
    assert_eq!(kinds(&judge(None, &first, &Requirements::default())), [RefusalKind::Security]);
    // In the time after that it was good.
    add(&mut table, [mutual(3)], SECOND - 1.0);
    let second = account(2, vec![node("node-1", &table, SECOND)]);
    let judgement = judge(Some(&first), &second, &Requirements::default());
    assert_eq!(kinds(&judgement), [], "{judgement:?}");
    assert_eq!(judgement.coverage.known, 1);
}

#[test]
fn losses_count_for_the_time_they_happened_in() {
    let table = table([mutual(1)]);
    let mut first = account(1, vec![node("node-1", &table, FIRST)]);
    edit(&mut first).lost.events = 5;
    let mut grown = table;
    add(&mut grown, [mutual(2)], SECOND - 1.0);
    let mut second = account(2, vec![node("node-1", &grown, SECOND)]);
    edit(&mut second).lost.events = 5;
    assert_eq!(kinds(&judge(None, &first, &Requirements::default())), [RefusalKind::Lost]);
    assert_eq!(kinds(&judge(Some(&first), &second, &Requirements::default())), []);
    // Another run of the agent counts from nothing, and says nothing of the end of the one before.
    edit(&mut second).since = FIRST + 100.0;
    let judgement = judge(Some(&first), &second, &Requirements::default());
    assert_eq!(kinds(&judgement), [RefusalKind::Unaccounted, RefusalKind::Lost]);
    edit(&mut second).lost.events = 0;
    let patient = Requirements { max_unaccounted_seconds: 100.0, ..Requirements::default() };
    assert_eq!(kinds(&judge(Some(&first), &second, &patient)), []);
}

#[test]
fn a_node_that_is_gone_is_told() {
    let table = table([mutual(1)]);
    let both = vec![node("node-1", &table, FIRST), node("node-2", &table, FIRST)];
    let first = account(1, both);
    let mut grown = table;
    add(&mut grown, [mutual(2)], SECOND - 1.0);
    let second = account(2, vec![node("node-1", &grown, SECOND)]);
    let judgement = judge(Some(&first), &second, &Requirements::default());
    assert_eq!(kinds(&judgement), [RefusalKind::NodeMissing]);
    let gone = Requirements { gone: vec!["node-2".into()], ..Requirements::default() };
    assert_eq!(kinds(&judge(Some(&first), &second, &gone)), []);
}

#[test]
fn what_is_carried_rests_on_its_full_handshakes() {
    let wire = Requirements { min_evidence: Evidence::Wire, ..Requirements::default() };
    let guessed = |number| {
        let mut report = carried(mutual(number), 10.0);
        if let Some(from) = &mut report.carried_from {
            from.by = CarriedBy::LastHandshake;
        }
        report
    };
    let inferred = |number| {
        let mut report = mutual(number);
        report.verdict.evidence = Evidence::Inferred;
        report
    };
    for (name, reports, passes) in [
        ("of one seen on the wire", vec![mutual(1), carried(mutual(2), 10.0)], true),
        ("of which is only guessed", vec![mutual(1), guessed(2)], false),
        ("of none that is known", vec![carried(mutual(1), 10.0)], false),
        ("of one that was inferred", vec![inferred(1), carried(mutual(2), 10.0)], false),
        ("beside one that was inferred", vec![mutual(1), inferred(2), mutual(3)], false),
    ] {
        let judgement = judge(None, &of(reports), &wire);
        assert_eq!(judgement.refusals.is_empty(), passes, "{name}: {judgement:?}");
    }
}

#[test]
fn an_exemption_excuses_what_it_is_for_while_it_lasts() {
    let text = |rule: &str| {
        format!(
            "[[exempt]]\nname = \"old\"\nmatch.upstream = \"x\"\nrules = [\"{rule}\"]\nowner = \
             \"team\"\nreason = \"soon\"\nuntil = 1970-01-01\n"
        )
    };
    let exempt = |rule: &str| {
        let mut account = of([report(1, Security::Plaintext)]);
        let exemptions = Exemptions::parse(&text(rule)).unwrap();
        account.nodes[0].hops[0].compliance = Some(HopCompliance {
            status: Compliance::Exempt,
            policy: "default".into(),
            violations: Vec::new(),
            exemption: exemptions.iter().next().cloned(),
        });
        account
    };
    let allowed = Requirements { allow_exempt: true, ..Requirements::default() };
    let mut ended = exempt(Rule::Plaintext.as_str());
    ended.nodes[0].at = 90_000.0;
    for (name, account, required, passes) in [
        ("exempt from that", exempt("plaintext"), &allowed, true),
        ("exempt from something else", exempt("never_requested"), &allowed, false),
        ("exempt, and not asked for", exempt("plaintext"), &Requirements::default(), false),
        ("no longer exempt", ended, &allowed, false),
    ] {
        let judgement = judge(None, &account, required);
        assert_eq!(judgement.refusals.is_empty(), passes, "{name}: {judgement:?}");
        assert_eq!(judgement.exempt, usize::from(passes), "{name}");
    }
}

#[test]
fn a_chain_has_no_gap() {
    let link = |number, previous: Option<&Link>, time| {
        let mut account = of([mutual(number)]);
        account.number = number;
        account.previous = previous.map(|link| link.sha256);
        account.at = time;
        Link { sha256: Fingerprint::of(&number.to_be_bytes()), account }
    };
    let first = link(1, None, 1.0);
    let second = link(2, Some(&first), 2.0);
    let third = link(3, Some(&second), 3.0);
    let another = link(3, Some(&first), 3.0);
    let older = link(3, Some(&second), 1.5);
    let [a, b, c] = [&first, &second, &third];
    for (name, links, after, words) in [
        ("whole", vec![a, b, c], None, None),
        ("behind a digest", vec![b, c], Some(first.sha256), None),
        ("behind another digest", vec![b, c], Some(third.sha256), Some("not")),
        ("without its beginning", vec![b, c], None, Some("--after")),
        ("with a gap", vec![a, c], None, Some("statement 2 is missing")),
        ("one twice", vec![a, b, b], None, Some("two statements are number 2")),
        ("another in its place", vec![a, b, &another], None, Some("number 3 follows")),
        ("back in time", vec![a, b, &older], None, Some("older")),
    ] {
        let links: Vec<_> = links.into_iter().cloned().collect();
        let found = (0..links.len()).find_map(|at| broken(&links, at, after));
        match (&found, words) {
            (None, None) => {}
            (Some(refusal), Some(words)) => {
                assert!(refusal.detail.contains(words), "{name}: {refusal}");
            }
            _ => panic!("{name}: {found:?}"),
        }
    }
}

#[test]
fn an_account_is_the_same_after_json() {
    let mut account = of([mutual(1), to(report(2, Security::Plaintext), "10.0.0.2:80")]);
    account.previous = Some(Fingerprint::of(b"before"));
    let json = serde_json::to_string(&account).unwrap();
    assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account, "{json}");
    // Another key of a hop's context is in the account only where it is said to be.
    let context = HopContext { name: Some("payments".into()), ..HopContext::default() };
    let mut table = table([mutual(1)]);
    table.describe(&"nginx".into(), &"10.0.0.1:443".into(), |_| context, at(FIRST));
    assert_eq!(node("n", &table, FIRST).hops[0].name.as_deref(), Some("payments"));
}
