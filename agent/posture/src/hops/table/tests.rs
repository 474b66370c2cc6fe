use hopsight_core::model::Timestamp;
use hopsight_core::model::{
    ClientAuth, Outcome, Reason,
    Security::{Mtls, Plaintext, Tls, Unknown},
};

use super::*;
use crate::{
    hops::context::{HopCompliance, HopContext},
    hops::ends::Ends,
    hops::evaluation::Evaluation,
    hops::testing::{at, certificate, early, process, rejected, report, to},
    policy::drift::Compliance,
};

pub(super) fn table(max_hops: usize) -> HopTable {
    HopTable::new(HopLimits { max_hops, ..HopLimits::default() })
}

fn clock(seconds: f64) -> Timestamp {
    at(seconds).monotonic
}

pub(super) fn only_hop(reports: impl IntoIterator<Item = ConnectionReport>) -> Hop {
    let mut table = table(10);
    for (second, report) in reports.into_iter().enumerate() {
        table.record(&report, at(u32::try_from(second).expect("few reports").into()));
    }
    let snapshot = table.snapshot(0.0);
    assert_eq!(snapshot.hops.len(), 1);
    Hop::clone(&snapshot.hops[0])
}

#[test]
fn each_connection_is_counted_once() {
    let hop = only_hop([
        early(report(1, Unknown)),
        early(report(1, Tls)),
        report(1, Mtls),
        report(2, Unknown),
        rejected(report(3, Mtls)),
    ]);
    assert_eq!(hop.counts.count_of(|t| t.security == Mtls), 2);
    assert_eq!(hop.counts.count_of(|t| t.security == Tls), 0);
    assert_eq!(hop.counts.unknown_reasons[&Reason::EncryptedHandshake], 1);
    assert_eq!(hop.counts.count_of(|t| t.outcome == Outcome::Rejected), 1);
    assert_eq!(hop.counts.failures["unknown_ca"], 1);
    assert_eq!(hop.counts.negotiated[0].connections, 3);
    assert_eq!((hop.counts.resumed_connections, hop.counts.resumption_known), (0, 3));
    assert_eq!(hop.counts.last_alert.as_ref().map(|alert| alert.at), Some(4.0));
}

#[test]
fn a_connection_that_was_not_used_is_counted_apart() {
    let unused = |number| {
        let mut report = report(number, Unknown);
        report.verdict.reason = Some(Reason::Unused);
        report
    };
    let mut table = table(10);
    table.record(&unused(1), at(1.0));
    assert!(table.is_empty(), "it makes no hop");
    table.record(&report(2, Mtls), at(2.0));
    let before = table.snapshot(0.0).hops[0].clone();
    table.record(&unused(3), at(3.0));
    let snapshot = table.snapshot(0.0);
    let mut after = Hop::clone(&snapshot.hops[0]);
    assert_eq!((after.counts.unused_connections, snapshot.totals.unused_connections), (1, 2));
    after.counts.unused_connections = 0;
    assert_eq!(after, *before, "nothing else knows of it");
}

#[test]
fn since_is_the_last_change_of_security() {
    let hop = only_hop([report(1, Mtls), report(2, Mtls), report(3, Tls), report(4, Mtls)]);
    assert_eq!((hop.first_seen, hop.security_since, hop.last_seen), (0.0, 2.0, 3.0));
}

#[test]
fn hops_beyond_the_limit_share_one_that_never_claims_mtls() {
    let mut table = table(2);
    for (connection, security) in [Mtls, Mtls, Mtls, Tls, Mtls].into_iter().enumerate() {
        let connection = connection as u64;
        table.record(
            &to(report(connection, security), &format!("10.0.0.{connection}:443")),
            at(1.0),
        );
    }
    let other = |table: &HopTable| {
        let snapshot = table.snapshot(1.0).sorted();
        let hop = snapshot.hops.iter().find(|hop| hop.is_overflow()).expect("overflow hop");
        (Hop::clone(hop), snapshot.totals)
    };
    let (hop, totals) = other(&table);
    assert_eq!(table.len(), 2);
    assert_eq!((&*hop.proxy, hop.state.security), ("nginx", Tls));
    assert_eq!(hop.counts.count_of(|t| t.security == Mtls), 2);
    assert_eq!(hop.counts.count_of(|t| t.security == Tls), 1);
    assert_eq!(totals.overflowed_connections, 3);

    table.record(&to(report(9, Plaintext), "10.0.0.9:80"), at(1.0));
    table.record(&to(report(10, Tls), "10.0.0.10:443"), at(1.0));
    assert_eq!(other(&table).0.state.security, Plaintext, "the worst of them");
}

#[test]
fn proxies_beyond_the_limit_are_bounded_too() {
    let mut table = table(1);
    for proxy in 0..2_000 {
        let mut report = report(proxy, Tls);
        report.origin = process(&format!("p{proxy}"));
        table.record(&report, at(1.0));
    }
    assert_eq!(table.snapshot(1.0).hops.len(), 1 + MAX_OVERFLOW_HOPS + 1);
    assert_eq!(table.len(), 1);
}

#[test]
fn who_fills_the_table_gives_way_to_others() {
    let mut table = table(100);
    let ends = |proxy: &str, upstream: u64| Ends {
        proxy: proxy.into(),
        upstream: format!("10.0.0.{upstream}:80").into(),
        pod: None,
    };
    let mut record = |proxy: &str, upstream: u64, second: f64| {
        let ends = ends(proxy, upstream);
        table.record_between(&ends, &report(1, Plaintext), Evaluation::default(), at(second));
        let (proxy, upstream) = table.counted_under(&ends.proxy, &ends.upstream);
        (format!("{proxy} {upstream}"), table.len(), table.totals.evicted_hops)
    };
    for upstream in 0..200 {
        record("nginx@user-1000", upstream, 1.0);
    }
    let overflow = record("nginx@user-1000", 200, 1.0);
    assert_eq!(overflow, ("nginx@user-1000 ~other".to_owned(), 100, 0));
    for (number, proxy) in ["nginx", "web/edge", "nginx@3f2a1b0c9d8e"].into_iter().enumerate() {
        let hop = record(proxy, 7, 2.0);
        assert_eq!(hop, (format!("{proxy} 10.0.0.7:80"), 100, number as u64 + 1));
    }
    // A second user gets as much as the first, and no more.
    for upstream in 0..200 {
        record("nginx@user-1001", upstream, 3.0);
    }
    let of = |owner: &str| table.of_owner[owner];
    assert_eq!((of("user-1000"), of("user-1001")), (49, 48));
    assert_eq!((of(""), of("web/edge")), (1, 1));
}

#[test]
fn what_violates_something_goes_last() {
    let mut table = table(3);
    let proxy: Arc<str> = "nginx@user-1000".into();
    let ends = |upstream: &str| Ends { proxy: proxy.clone(), upstream: upstream.into(), pod: None };
    for (second, upstream) in ["oldest", "older", "old"].into_iter().enumerate() {
        let evaluation = Evaluation {
            compliance: (upstream == "oldest").then_some(Compliance::Violation),
            ..Evaluation::default()
        };
        let second = f64::from(u32::try_from(second).unwrap());
        table.record_between(&ends(upstream), &report(1, Plaintext), evaluation, at(second));
    }
    let violated = |known: &HopContext| {
        let compliance = HopCompliance::new("policy".into(), [], None);
        HopContext { compliance: Some(compliance), ..known.clone() }
    };
    table.describe(&proxy, &"oldest".into(), violated, at(3.0));
    table.record(&report(2, Tls), at(4.0));
    let kept = |upstream: &str| table.get(&proxy, &upstream.into()).is_some();
    assert_eq!((kept("oldest"), kept("older"), kept("old")), (true, false, true));
}

#[test]
fn silent_hops_are_forgotten_and_make_room() {
    let mut table = HopTable::new(HopLimits {
        max_hops: 1,
        idle_expiry: Duration::from_secs(10),
        ..HopLimits::default()
    });
    table.record(&report(1, Tls), at(0.0));
    table.record(&to(report(2, Tls), "10.0.0.2:443"), at(5.0));
    table.expire(at(10.0));
    assert_eq!(table.snapshot(10.0).hops.len(), 2, "not older than the limit");
    table.expire(at(10.5));
    assert_eq!(table.snapshot(10.5).totals.expired_hops, 1);
    table.record(&to(report(3, Tls), "10.0.0.3:443"), at(11.0));
    assert!(table.snapshot(11.0).hops.iter().any(|hop| &*hop.upstream == "10.0.0.3:443"));
    table.expire(at(100.0));
    assert!(table.is_empty());
}

/// Steps of the wall clock, in seconds, between two reports that are ten seconds apart.
const STEPS: [(&str, f64); 4] = [
    ("not set", 0.0),
    ("set forward by a day", 86_400.0),
    ("set back by a day", -86_400.0),
    ("set to before the epoch", -2e9),
];

#[test]
fn a_set_clock_forgets_no_hop_and_keeps_none() {
    for (name, step) in STEPS {
        let limits =
            HopLimits { max_hops: 10, idle_expiry: Duration::from_mins(1), ..HopLimits::default() };
        let mut table = HopTable::new(limits);
        let moment = |seconds: f64, step: f64| Moment {
            unix_seconds: 1.8e9 + seconds + step,
            monotonic: clock(seconds),
        };
        table.record(&report(1, Tls), moment(0.0, 0.0));
        table.record(&to(report(2, Tls), "10.0.0.2:443"), moment(10.0, step));
        table.expire(at(60.0));
        assert_eq!(table.len(), 2, "{name}: silent for 60 and 50 seconds");
        table.expire(at(61.0));
        let left = table.snapshot(0.0).hops;
        assert_eq!((left.len(), &*left[0].upstream), (1, "10.0.0.2:443"), "{name}");
        assert!((left[0].last_seen - (1.8e9 + 10.0 + step)).abs() < 1e-3, "{name}: as shown");
        table.expire(at(71.0));
        assert!(table.is_empty(), "{name}");
    }
}

#[test]
fn a_set_clock_takes_no_server_out_of_use() {
    let (a, b) = ("10.0.0.1:443", "10.0.0.2:443");
    for (name, step) in STEPS {
        for (order, first, second) in [("clear first", Plaintext, Mtls), ("last", Mtls, Plaintext)]
        {
            let mut table = table(10);
            for (address, security, seconds, step) in
                [(a, first, 0.0, 0.0), (b, second, 10.0, step)]
            {
                let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
                let report = to(report(1, security), address);
                let unix_seconds = 1.8e9 + seconds + step;
                let moment = Moment { unix_seconds, monotonic: clock(seconds) };
                table.record_between(&ends, &report, Evaluation::default(), moment);
            }
            let security = table.snapshot(0.0).hops[0].state.security;
            assert_eq!(security, Plaintext, "{name}, {order}");
        }
    }
}

#[test]
fn a_snapshot_does_not_change() {
    let mut table = table(10);
    table.record(&report(1, Mtls), at(1.0));
    let before = table.snapshot(1.0);
    table.record(&report(2, Tls), at(2.0));
    assert_eq!(before.hops[0].state.security, Mtls);
    assert_eq!(table.snapshot(2.0).by_security()[&Tls], 1);
}

#[test]
fn an_ipv4_mapped_destination_is_the_ipv4_hop() {
    let mut table = table(10);
    table.record(&report(1, Tls), at(1.0));
    table.record(&to(report(2, Tls), "[::ffff:10.0.0.1]:443"), at(1.0));
    table.record(&to(report(3, Tls), "[2001:db8::1]:443"), at(1.0));
    let snapshot = table.snapshot(1.0).sorted();
    let upstreams: Vec<_> = snapshot.hops.iter().map(|hop| &*hop.upstream).collect();
    assert_eq!(upstreams, ["10.0.0.1:443", "[2001:db8::1]:443"]);
}

#[test]
fn json_reads_back() {
    let mut report = rejected(report(1, Mtls));
    report.server_certificate = Some(certificate("server", 100).into());
    let mut table = table(10);
    table.record(&report, at(1.5));
    let snapshot = table.snapshot(2.0).sorted();
    let json = serde_json::to_value(&snapshot).expect("serialize");
    let hop = &json["hops"][0];
    assert_eq!(hop["security"], "unknown");
    assert_eq!(hop["last_verdict"]["outcome"], "rejected");
    assert_eq!(hop["last_alert"]["description"], "unknown_ca");
    assert_eq!(hop["server_certificate"]["subject"], "CN=server");
    let back: Snapshot = serde_json::from_value(json).expect("deserialize");
    assert_eq!(back.hops.len(), 1);
    assert_eq!(back.hops[0].state.client_auth, ClientAuth::Unknown);
    assert_eq!(back.hops[0].counts.connections[0].outcome, Outcome::Rejected);
}

/// A report between these ends, at this second.
pub(super) fn between(
    table: &mut HopTable,
    proxy: &str,
    upstream: &str,
    report: &ConnectionReport,
    seconds: f64,
) {
    let ends = Ends { proxy: proxy.into(), upstream: upstream.into(), pod: None };
    table.record_between(&ends, report, Evaluation::default(), at(seconds));
}

#[test]
fn servers_are_bounded() {
    let mut table = table(10);
    for number in 0..200_u64 {
        let address = format!("10.0.{}.1:443", number % 100);
        let report = to(report(number, Mtls), &address);
        between(&mut table, "nginx", "payments", &report, 1.0);
    }
    let hop = &table.snapshot(0.0).hops[0];
    assert_eq!(hop.servers.len(), crate::hops::server::MAX_SERVERS);
    assert_eq!(hop.counts.count_of(|_| true), 200);
}

#[test]
fn names_that_are_gone_are_forgotten() {
    let mut table = table(10);
    for (proxy, upstream) in [("nginx", "a"), ("nginx", "b"), ("web/edge", "a")] {
        between(&mut table, proxy, upstream, &report(1, Mtls), 1.0);
    }
    table.forget("nginx", "a");
    assert_eq!(table.len(), 2);
    table.forget("nginx", "b");
    let left = table.snapshot(0.0).hops;
    assert_eq!((left.len(), &*left[0].proxy), (1, "web/edge"));
}

/// Both ends of a table's only hop, for what is described of it.
pub(super) fn only(table: &HopTable) -> Hop {
    let snapshot = table.snapshot(0.0);
    assert_eq!(snapshot.hops.len(), 1);
    Hop::clone(&snapshot.hops[0])
}

/// What policy asks for is another, or an agent begins under another: what was compliant is not known
/// to be, and what was not stays so.
#[test]
fn nothing_is_compliant_under_a_policy_that_it_was_not_evaluated_against() {
    let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
    for (before, after) in [
        (Compliance::Compliant, Compliance::Unknown),
        (Compliance::Violation, Compliance::Violation),
    ] {
        let mut table = HopTable::new(HopLimits::default());
        let evaluation = Evaluation { compliance: Some(before), ..Evaluation::default() };
        table.record_between(&ends, &report(1, Mtls), evaluation.clone(), at(1.0));
        let compliance = HopCompliance::new("policy".into(), [], None);
        let context = || HopContext { compliance: Some(compliance), ..HopContext::default() };
        table.describe(&ends.proxy, &ends.upstream, |_| context(), at(1.0));
        let status = |table: &HopTable| {
            let hops = table.snapshot(2.0).hops;
            hops[0].context.compliance.as_ref().map(|compliance| compliance.status)
        };
        assert_eq!(status(&table), Some(before));
        table.reconsider(|_| true, at(2.0));
        assert_eq!(status(&table), Some(after));
        table.record_between(&ends, &report(2, Mtls), evaluation, at(3.0));
        assert_eq!(status(&table), Some(before), "seen again");
    }
}
