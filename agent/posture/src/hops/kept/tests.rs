use std::time::Duration;

use hopsight_core::{
    model::{
        ClientAuth, Evidence,
        Security::{self, Mtls, Plaintext, Tls, Unknown},
        ServerVerified,
    },
    report::ConnectionReport,
};
use serde_json::Value;

use super::*;
use crate::{
    hops::{
        context::{HopContext, IntentSummary},
        ends::Ends,
        evaluation::Evaluation,
        table::{HopLimits, HopTable},
        testing::{at, certificate, early, report, to},
    },
    policy::intent::{Scheme, Stated},
};

const HOUR: f64 = 3600.0;

/// The table after a restart: kept at `kept_at`, gone on with at `now`.
pub(in crate::hops) fn restarted(table: &HopTable, kept_at: f64, now: Moment) -> HopTable {
    let snapshot = table.snapshot(kept_at);
    let kept = Kept::of(snapshot.totals, &snapshot.hops, table.ended(), at(kept_at).monotonic);
    let json = serde_json::to_string(&kept).expect("JSON");
    from_json(&json, now)
}

fn from_json(json: &str, now: Moment) -> HopTable {
    let mut table = HopTable::new(HopLimits { max_hops: 4, ..HopLimits::default() });
    let kept: Kept = serde_json::from_str(json).expect("a kept table");
    kept.restore(&mut table, Some, now, 0.0);
    table
}

fn ends() -> Ends {
    Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None }
}

fn record(table: &mut HopTable, report: &ConnectionReport, seconds: f64) {
    table.record_between(&ends(), report, Evaluation::default(), at(seconds));
}

/// What is not known of a server does not get better by forgetting it.
#[test]
fn a_server_of_which_nothing_is_known_counts_after_a_restart() {
    let mut table = HopTable::new(HopLimits::default());
    record(&mut table, &report(1, Mtls), 10.0);
    record(&mut table, &to(report(2, Unknown), "10.0.0.2:443"), 11.0);
    let mut table = restarted(&table, 30.0, at(40.0));
    record(&mut table, &report(3, Mtls), 41.0);
    assert_eq!(only(&table).state.security, Unknown);
    record(&mut table, &to(report(4, Mtls), "10.0.0.2:443"), 42.0);
    assert_eq!(only(&table).state.security, Mtls);
}

fn only(table: &HopTable) -> Hop {
    let hops = table.snapshot(0.0).hops;
    assert_eq!(hops.len(), 1, "{hops:#?}");
    Hop::clone(&hops[0])
}

#[test]
fn a_hop_is_the_same_after_a_restart() {
    let mut table = HopTable::new(HopLimits::default());
    let mut bad = to(report(1, Tls), "10.0.0.2:443");
    bad.verdict.client_auth = ClientAuth::RequestedNotPresented;
    bad.server_certificate = Some(certificate("short", 100).into());
    record(&mut table, &bad, 10.0);
    record(&mut table, &report(2, Mtls), 20.0);
    record(&mut table, &report(3, Unknown), 21.0);
    let (nginx, payments) = ("nginx".into(), "payments".into());
    let intent = IntentSummary {
        scheme: Scheme::Tls,
        client_certificate: Stated::Yes,
        verify: Stated::Yes,
        place: None,
    };
    let described = |_: &HopContext| HopContext {
        name: Some("payments".into()),
        intent: Some(intent.clone()),
        loaded_at: Some(5.0),
        ..HopContext::default()
    };
    table.describe(&nginx, &payments, described, at(22.0));
    let before = only(&table);
    let mut table = restarted(&table, 30.0, at(40.0));
    let after = only(&table);
    let shown = |hop: &Hop| serde_json::to_value(hop).expect("JSON");
    assert_eq!(shown(&after), shown(&before));
    assert_eq!(after.context.client_certificate_since, Some(5.0));

    // And it goes on as the same: nothing is told again, and counts go on.
    let told = table.record_between(&ends(), &report(4, Mtls), Evaluation::default(), at(41.0)).hop;
    assert_eq!(told, None);
    assert_eq!(only(&table).counts.count_of(|_| true), 4);
    let described = table.describe(&nginx, &payments, described, at(42.0));
    assert_eq!((described.hop, described.intent), (None, None));
}

#[test]
fn time_in_which_nobody_watched_is_no_silence() {
    let moment = |seconds: f64, wall: f64| Moment { unix_seconds: wall, ..at(seconds) };
    for (name, kept_at, now, good_at, want) in [
        ("at once", 20.0, at(21.0), 22.0, Tls),
        ("down for a day", 20.0, at(24.0 * HOUR), 24.0 * HOUR + 1.0, Tls),
        ("silent for long before", 1.9 * HOUR, at(2.0 * HOUR), 2.2 * HOUR, Mtls),
        ("another boot", 2.0 * HOUR, moment(3.0, 9e9), 4.0, Tls),
        ("set forward while down", 20.0, moment(30.0, 9e9), 31.0, Tls),
        ("set back while down", 20.0, moment(30.0, -9e9), 31.0, Tls),
    ] {
        let mut table = HopTable::new(HopLimits::default());
        record(&mut table, &report(1, Tls), 10.0);
        record(&mut table, &to(report(2, Mtls), "10.0.0.2:443"), 11.0);
        let mut table = restarted(&table, kept_at, now);
        table.expire(now);
        assert_eq!(only(&table).state.security, Tls, "{name}: at the start");
        record(&mut table, &to(report(3, Mtls), "10.0.0.2:443"), good_at);
        table.expire(at(good_at));
        assert_eq!(only(&table).state.security, want, "{name}: with another good one");
    }
}

#[test]
fn claims_that_may_be_taken_back_are_not_kept() {
    for (name, report, want) in [
        ("mutual, not over", early(report(1, Mtls)), Unknown),
        ("one-way, not over, is worse and believed", early(report(1, Tls)), Tls),
        ("clear text was sent", early(report(1, Plaintext)), Plaintext),
        ("mutual", report(1, Mtls), Mtls),
    ] {
        let mut table = HopTable::new(HopLimits::default());
        record(&mut table, &report, 10.0);
        assert_eq!(only(&table).state.security, report.verdict.security, "{name}");
        let table = restarted(&table, 11.0, at(12.0));
        assert_eq!(only(&table).state.security, want, "{name}");
    }
}

/// A kept table with one hop, to be spoiled.
fn kept_json() -> Value {
    let mut table = HopTable::new(HopLimits::default());
    let mut one = report(1, Mtls);
    one.server_certificate = Some(certificate("server", 100).into());
    record(&mut table, &one, 10.0);
    let snapshot = table.snapshot(10.0);
    let kept = Kept::of(snapshot.totals, &snapshot.hops, table.ended(), at(11.0).monotonic);
    serde_json::to_value(kept).expect("JSON")
}

#[test]
fn what_does_not_fit_together_is_left_out() {
    type Spoil = fn(&mut Value);
    for (name, spoil, want) in [
        ("nothing", (|_| {}) as Spoil, Some(Mtls)),
        ("a name that is none of ours", |kept| kept["hops"][0]["hop"]["proxy"] = "~x".into(), None),
        ("no servers", |kept| kept["hops"][0]["servers"] = Value::Array(vec![]), None),
        (
            "treatments that are missing",
            |kept| kept["hops"][0]["servers"][0]["treatments"] = Value::Array(vec![]),
            Some(Unknown),
        ),
        (
            "a treatment that is better than what it showed",
            |kept| {
                kept["hops"][0]["servers"][0]["treatments"][0]["state"]["security"] = "tls".into();
            },
            Some(Unknown),
        ),
        (
            "a hop that is better than its treatments",
            |kept| kept["hops"][0]["hop"]["servers"] = Value::Array(vec![]),
            None,
        ),
        ("a long silence", |kept| kept["hops"][0]["silent"] = u64::MAX.into(), Some(Mtls)),
    ] {
        let mut kept = kept_json();
        spoil(&mut kept);
        let table = from_json(&kept.to_string(), at(20.0));
        let found = table.snapshot(0.0).hops.first().map(|hop| hop.state.security);
        assert_eq!(found, want, "{name}");
    }
    let kept: Kept = serde_json::from_value(kept_json()).expect("a kept table");
    let mut table = HopTable::new(HopLimits::default());
    kept.restore(&mut table, |_| None, at(20.0), 0.0);
    assert_eq!(table.len(), 0, "texts that cannot be made printable");
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let mut kept = kept_json();
    let one = kept["hops"][0].clone();
    let many: Vec<Value> = (0..8)
        .map(|number| {
            let mut hop = one.clone();
            hop["hop"]["upstream"] = format!("upstream-{number}").into();
            let servers: Vec<_> = (0..80_u8)
                .map(|last| {
                    let mut server = hop["hop"]["servers"][0].clone();
                    server["address"] = format!("10.0.0.{last}:443").into();
                    server
                })
                .collect();
            hop["servers"] = vec![hop["servers"][0].clone(); servers.len()].into();
            hop["hop"]["servers"] = servers.into();
            hop
        })
        .collect();
    kept["hops"] = many.into();
    let table = from_json(&kept.to_string(), at(20.0));
    assert_eq!(table.len(), 4);
    let servers = table.snapshot(0.0).hops.iter().map(|hop| hop.servers.len()).max();
    assert_eq!(servers, Some(MAX_SERVERS));
}

#[test]
fn times_of_loading_are_set_with_the_clock() {
    let mut table = HopTable::new(HopLimits::default());
    let loaded = Evaluation { loaded_at: Some(5.0), ..Evaluation::default() };
    table.record_between(&ends(), &report(1, Tls), loaded, at(10.0));
    let snapshot = table.snapshot(11.0);
    let kept = Kept::of(snapshot.totals, &snapshot.hops, table.ended(), at(11.0).monotonic);
    let mut table = HopTable::new(HopLimits::default());
    let day = Duration::from_hours(24).as_secs_f64();
    kept.restore(&mut table, Some, at(12.0), day);
    let hop = only(&table);
    assert_eq!(hop.servers[0].treatments[0].loaded_at, Some(5.0 + day));
    assert!((hop.first_seen - 10.0).abs() < 1e-9, "what was shown is shown");
}

/// Every order of up to five connections over two servers and two routes, and a restart in every
/// position of it: the hop is what it is without a restart.
#[test]
fn a_restart_makes_no_hop_better() {
    let kind = |connection, security: Security, address, client_auth| {
        let mut report = to(report(connection, security), address);
        report.verdict.client_auth = client_auth;
        report
    };
    let kinds = [
        (Mtls, "10.0.0.1:443", ClientAuth::Presented),
        (Tls, "10.0.0.1:443", ClientAuth::RequestedNotPresented),
        (Mtls, "10.0.0.2:443", ClientAuth::Presented),
        (Plaintext, "10.0.0.2:443", ClientAuth::NotRequested),
    ];
    for length in 1..=4_u32 {
        for order in 0..kinds.len().pow(length) {
            let reports: Vec<_> = (0..length)
                .map(|turn| {
                    let (security, address, client_auth) = kinds[order >> (2 * turn) & 3];
                    kind(u64::from(turn) + 1, security, address, client_auth)
                })
                .collect();
            let mut unbroken = HopTable::new(HopLimits::default());
            for (second, report) in (1_u32..).zip(&reports) {
                record(&mut unbroken, report, second.into());
            }
            let want = only(&unbroken);
            for position in 1..=reports.len() {
                let mut table = HopTable::new(HopLimits::default());
                for (number, report) in reports.iter().enumerate() {
                    let second = u32::try_from(number + 1).expect("few").into();
                    if number == position {
                        table = restarted(&table, second - 0.5, at(second - 0.25));
                    }
                    record(&mut table, report, second);
                }
                if position == reports.len() {
                    table = restarted(&table, 9.0, at(10.0));
                }
                let hop = only(&table);
                assert_eq!(hop.state, want.state, "order {order}, restart after {position}");
                assert_eq!(hop.shares(), want.shares(), "order {order}, after {position}");
            }
        }
    }
}

/// The first handshakes after a restart are over before the proxy's library is read.
#[test]
fn what_cannot_be_seen_yet_leaves_the_answer_on_verification() {
    let (yes, no, unknown) = (ServerVerified::Yes, ServerVerified::No, ServerVerified::Unknown);
    let verified = |connection, answer, evidence| {
        let mut report = report(connection, Tls);
        (report.verdict.server_verified, report.verdict.evidence) = (answer, evidence);
        report
    };
    let unseen = |connection| verified(connection, unknown, Evidence::Wire);
    let seen = |connection, answer| verified(connection, answer, Evidence::Library);
    let loaded_at = |at| Evaluation { loaded_at: at, ..Evaluation::default() };
    for (name, before, after, loaded, seconds, want) in [
        ("soon after", vec![seen(1, yes)], vec![unseen(2)], Some(5.0), 101.0, vec![yes]),
        ("not read yet", vec![seen(1, yes)], vec![unseen(2)], None, 101.0, vec![yes]),
        ("never", vec![seen(1, yes)], vec![unseen(2)], Some(5.0), 161.0, vec![unknown, yes]),
        ("loaded anew", vec![seen(1, yes)], vec![unseen(2)], Some(99.0), 101.0, vec![unknown, yes]),
        ("no", vec![seen(1, no)], vec![unseen(2)], Some(5.0), 101.0, vec![no]),
        ("by turns", vec![seen(1, no), seen(2, yes)], vec![unseen(3)], None, 101.0, vec![no, yes]),
        ("half read", vec![seen(1, yes)], vec![seen(2, unknown)], None, 101.0, vec![yes]),
        ("worse", vec![seen(1, yes)], vec![unseen(2), seen(3, no)], None, 101.0, vec![no, yes]),
        ("nothing was known", vec![unseen(1)], vec![unseen(2)], None, 101.0, vec![unknown]),
    ] {
        let mut table = HopTable::new(HopLimits::default());
        for report in before {
            table.record_between(&ends(), &report, loaded_at(Some(5.0)), at(10.0));
        }
        let mut table = restarted(&table, 11.0, at(100.0));
        for report in after {
            table.record_between(&ends(), &report, loaded_at(loaded), at(seconds));
        }
        let hop = only(&table);
        let answers: Vec<_> = hop.treatments().map(|one| one.server_verified).collect();
        assert_eq!(answers, want, "{name}");
        assert_eq!(hop.state.server_verified, want[0], "{name}");
    }
}
