use super::*;
use hopsight_core::report::Unseen;
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopContext, HopViolation},
        table::{HopLimits, HopTable},
        testing::{at, certificate, rejected, report, to},
    },
    policy::{drift::Rule, intent::Place},
};

fn snapshot() -> Snapshot {
    let mut table = HopTable::new(HopLimits::default());
    let mut mutual = report(1, Security::Mtls);
    mutual.server_certificate = Some(certificate("upstream", 100 * 86_400).into());
    mutual.client_certificate = Some(certificate("proxy", 50).into());
    table.record(&mutual, at(10.0));
    table.record(&to(report(2, Security::Plaintext), "10.0.0.2:80"), at(70.0));
    table.record(&rejected(to(report(3, Security::Mtls), "10.0.0.3:443")), at(80.0));
    let violation = HopViolation {
        rule: Rule::Plaintext,
        detail: "in the clear: \"#- yes\"\n\t\u{1b}[1m".into(),
        place: Some(Place { file: "edge.conf".into(), line: 7 }),
        since: 40.0,
        preexisting: true,
    };
    let compliance = HopCompliance {
        status: Compliance::Violation,
        policy: "default".into(),
        violations: vec![violation],
        exemption: None,
    };
    let context = HopContext {
        name: Some("payments".into()),
        compliance: Some(compliance),
        ..HopContext::default()
    };
    table.describe(&"nginx".into(), &"10.0.0.2:80".into(), |_| context, at(80.0));
    let mut snapshot = table.snapshot(100.0);
    order(&mut snapshot, Sort::WorstFirst);
    snapshot
}

#[test]
fn worst_hops_come_first() {
    let want = "\
PROXY  UPSTREAM      SECURITY         CLIENT AUTH    EVIDENCE  VERIFIED  VERSION  CONNS  FAILED  LAST SEEN
nginx  10.0.0.2:80   plaintext        not_requested  wire      unknown   -        1      0       30s
nginx  10.0.0.3:443  mtls (rejected)  presented      wire      unknown   -        1      1       20s
nginx  10.0.0.1:443  mtls             presented      wire      unknown   1.2      1      0       1m
";
    assert_eq!(lines(&snapshot(), false, false), want);
}

#[test]
fn wide_shows_certificates_alerts_and_compliance() {
    let text = lines(&snapshot(), true, true);
    assert!(text.contains("payments") && text.contains("violation"), "{text}");
    assert!(text.contains("plaintext for 1m at least at edge.conf:7"), "{text}");
    assert!(text.contains("CN=upstream"), "{text}");
    assert!(text.contains("\u{1b}[1;31m1970-01-01\u{1b}[0m"), "expired is red: {text}");
    assert!(text.contains("unknown_ca from server 20s ago"), "{text}");
}

#[test]
fn sessions_that_nobody_saw_begin_are_told_once_per_proxy_and_cause_with_what_decides_them() {
    let mut table = HopTable::new(HopLimits::default());
    for (number, upstream, second, why) in [
        (1, "10.0.0.1:443", 60.0, Unseen::OlderProcess),
        (2, "10.0.0.2:443", 180.0, Unseen::OlderProcess),
        (3, "10.0.0.3:443", 120.0, Unseen::TicketLost),
    ] {
        let mut unseen = to(report(number, Security::Unknown), upstream);
        unseen.verdict.reason = Some(Reason::ResumedUnseen);
        unseen.unseen = Some(why);
        table.record(&unseen, at(second));
    }
    let text = lines(&table.snapshot(200.0), false, false);
    let notes: Vec<_> = text.lines().filter(|line| line.starts_with("note:")).collect();
    let want = "note: nginx resumes sessions from before 1970-01-01 00:03 on 2 hops (2 connections): \
                nobody saw them begin, and they do not end by themselves. This decides it: nginx -s \
                reload";
    let lost = "note: nginx resumes sessions from before 1970-01-01 00:02 on 1 hop (1 connections): \
                their tickets were lost on the way to the agent, and they do not end by themselves. \
                This decides it: nginx -s reload";
    assert_eq!(notes, [want, lost]);
    assert!(!lines(&snapshot(), false, false).contains("note:"));
}

#[test]
fn yaml_says_what_json_says() {
    let yaml = serde_saphyr::to_string(&snapshot()).unwrap();
    let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(read, serde_json::to_value(snapshot()).unwrap(), "{yaml}");
    assert!(!yaml.contains('\u{1b}'), "nothing that a terminal obeys: {yaml}");
}
