//! A hop is never better than what is not known of it, or what is only exempt.

use hopsight_core::model::{
    Reason,
    Security::{self, Mtls, Plaintext, Tls, Unknown},
    ServerVerified,
};

use super::{
    tests::{only, table},
    *,
};
use crate::{
    hops::{
        context::{HopCompliance, HopContext},
        ends::Ends,
        evaluation::Evaluation,
        testing::{at, early, rejected, report, to},
    },
    policy::{drift::Compliance, exempt::PolicyDocument},
};

const OTHER_SERVER: &str = "10.0.0.2:443";

/// A hop whose connections are those, all of one upstream, each compliant but for what is unknown.
fn compliant(reports: &[ConnectionReport]) -> HopTable {
    let mut table = table(10);
    for (second, report) in (1_u32..).zip(reports) {
        record(&mut table, report, Compliance::Compliant, second.into());
    }
    table
}

fn record(table: &mut HopTable, report: &ConnectionReport, compliance: Compliance, second: f64) {
    let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
    let compliance = match report.verdict.security {
        Unknown => Compliance::Unknown,
        _ => compliance,
    };
    let evaluation = Evaluation { compliance: Some(compliance), ..Evaluation::default() };
    table.record_between(&ends, report, evaluation, at(second));
    let exemption = "[[exempt]]\nmatch.upstream = \"payments\"\nrules = [\"plaintext\"]\n\
                     owner = \"payments\"\nreason = \"soon\"\nuntil = 9000-01-01";
    let exemption = PolicyDocument::parse(exemption).expect("valid").exemptions;
    let exemption = exemption.iter().next().cloned();
    let compliance = Some(HopCompliance::new("default".into(), [], exemption));
    let context = HopContext { compliance, ..HopContext::default() };
    table.describe(&ends.proxy, &ends.upstream, |_| context, at(second));
}

fn status(table: &HopTable) -> Compliance {
    only(table).context.compliance.expect("evaluated").status
}

#[test]
fn a_server_of_which_nothing_is_known_is_no_better_than_unknown() {
    let other = |report: ConnectionReport| to(report, OTHER_SERVER);
    let lost = |number| {
        let mut lost = report(number, Unknown);
        lost.verdict.outcome = hopsight_core::model::Outcome::Incomplete;
        lost.verdict.reason = Some(Reason::CaptureLost);
        lost
    };
    let verified = |mut report: ConnectionReport| {
        report.verdict.server_verified = ServerVerified::Yes;
        report
    };
    let (yes, unsure) = (Compliance::Compliant, Compliance::Unknown);
    for (name, reports, security, compliance) in [
        ("all are known", vec![report(1, Mtls), other(report(2, Mtls))], Mtls, yes),
        (
            "one server is unknown",
            vec![report(1, Mtls), other(report(2, Unknown))],
            Unknown,
            unsure,
        ),
        ("all of one were lost", vec![report(1, Mtls), other(lost(2))], Unknown, unsure),
        (
            "it does not hide what is worse",
            vec![report(1, Tls), other(report(2, Unknown))],
            Tls,
            unsure,
        ),
        (
            "nor what is in the clear",
            vec![report(1, Plaintext), other(report(2, Unknown))],
            Plaintext,
            unsure,
        ),
        ("one was lost beside a certain one", vec![report(1, Mtls), lost(2)], Mtls, yes),
        ("one was not recognised beside it", vec![report(1, Mtls), report(2, Unknown)], Mtls, yes),
        (
            "it was recognised later",
            vec![report(1, Mtls), other(report(2, Unknown)), other(report(3, Mtls))],
            Mtls,
            yes,
        ),
        (
            "nothing works there",
            vec![report(1, Mtls), other(rejected(report(2, Unknown)))],
            Mtls,
            yes,
        ),
        ("it has only begun", vec![report(1, Mtls), other(early(report(2, Unknown)))], Mtls, yes),
    ] {
        let table = compliant(&reports);
        assert_eq!((only(&table).state.security, status(&table)), (security, compliance), "{name}");
    }
    let table = compliant(&[verified(report(1, Tls)), other(report(2, Unknown))]);
    assert_eq!(only(&table).state.server_verified, ServerVerified::Unknown);
    assert_eq!(only(&table).not_working(), None, "something works");
}

#[test]
fn a_server_of_which_nothing_is_known_counts_while_it_is_in_use() {
    let unknown = to(report(2, Unknown), OTHER_SERVER);
    let mut table = compliant(&[report(1, Mtls), unknown]);
    let security = |table: &HopTable| -> Security { only(table).state.security };
    for (now, expected) in [(7_000.0, Unknown), (7_300.0, Mtls)] {
        record(&mut table, &report(3, Mtls), Compliance::Compliant, now);
        table.expire(at(now));
        assert_eq!(security(&table), expected, "at {now} s");
    }
}

#[test]
fn what_is_exempt_stays_so_while_it_may_be_in_use() {
    let mut table = table(10);
    let (exempt, good) = (Compliance::Exempt, Compliance::Compliant);
    for (second, says, expected) in [
        (1.0, good, good),
        (2.0, exempt, exempt),
        (3.0, good, exempt),
        (4.0, exempt, exempt),
        (5.0, good, exempt),
        (7_000.0, good, exempt),
        (7_205.0, good, good),
    ] {
        record(&mut table, &report(1, Mtls), says, second);
        assert_eq!(status(&table), expected, "at {second} s");
    }
    record(&mut table, &report(2, Mtls), exempt, 7_206.0);
    table.reconsider(|_| true, at(7_207.0));
    record(&mut table, &report(3, Mtls), good, 7_208.0);
    assert_eq!(status(&table), good, "another policy");
}
