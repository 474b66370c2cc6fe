use super::*;
use crate::model::Timestamp;
use crate::{
    hops::testing::{at, certificate, early, process, rejected, report, to},
    model::{
        ClientAuth, Outcome, Reason,
        Security::{Mtls, Plaintext, Tls, Unknown},
        ServerVerified,
    },
};

fn table(max_hops: usize) -> HopTable {
    HopTable::new(HopLimits { max_hops, ..HopLimits::default() })
}

fn clock(seconds: f64) -> Timestamp {
    at(seconds).monotonic
}

fn only_hop(reports: impl IntoIterator<Item = ConnectionReport>) -> Hop {
    let mut table = table(10);
    for (second, report) in reports.into_iter().enumerate() {
        table.record(&report, at(u32::try_from(second).expect("few reports").into()));
    }
    let snapshot = table.snapshot(0.0);
    assert_eq!(snapshot.hops.len(), 1);
    Hop::clone(&snapshot.hops[0])
}

#[test]
fn a_hop_is_its_worst_treatment_in_use() {
    let incomplete = |mut report: ConnectionReport| {
        report.verdict.outcome = Outcome::Incomplete;
        report
    };
    let failed = |mut report: ConnectionReport| {
        report.verdict.outcome = Outcome::Failed;
        report
    };
    for (name, reports, want) in [
        ("worse after better", vec![report(1, Mtls), report(2, Plaintext)], Plaintext),
        ("better after worse", vec![report(1, Plaintext), report(2, Mtls)], Plaintext),
        ("unknown changes nothing", vec![report(1, Plaintext), report(2, Unknown)], Plaintext),
        ("only unknown", vec![report(1, Unknown)], Unknown),
        ("an older one reported late", vec![report(2, Plaintext), report(1, Mtls)], Plaintext),
        ("rejected is not mtls", vec![rejected(report(1, Mtls))], Unknown),
        ("rejected after one-way", vec![report(1, Tls), rejected(report(2, Mtls))], Tls),
        ("failed is not one-way", vec![failed(report(1, Tls))], Unknown),
        ("unfinished is not mtls", vec![incomplete(report(1, Mtls))], Unknown),
        ("clear text counts at once", vec![early(incomplete(report(1, Plaintext)))], Plaintext),
        ("refused afterwards", vec![early(report(1, Mtls)), rejected(report(1, Mtls))], Unknown),
        (
            "refused afterwards, others stand",
            vec![report(1, Tls), early(report(2, Mtls)), rejected(report(2, Mtls))],
            Tls,
        ),
        (
            "two refused afterwards",
            vec![
                early(report(1, Mtls)),
                early(report(2, Mtls)),
                rejected(report(1, Mtls)),
                rejected(report(2, Mtls)),
            ],
            Unknown,
        ),
        (
            "a refusal takes back its own claim only",
            vec![early(report(1, Mtls)), report(2, Plaintext), rejected(report(1, Mtls))],
            Plaintext,
        ),
        ("revised upward", vec![early(report(1, Tls)), report(1, Mtls)], Mtls),
        ("found uncertain", vec![early(report(1, Mtls)), report(1, Unknown)], Unknown),
    ] {
        assert_eq!(only_hop(reports).state.security, want, "{name}");
    }
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
fn since_is_the_last_change_of_security() {
    let hop = only_hop([report(1, Mtls), report(2, Mtls), report(3, Tls), report(4, Mtls)]);
    assert_eq!((hop.first_seen, hop.security_since, hop.last_seen), (0.0, 2.0, 3.0));
}

#[test]
fn certificates_stay_while_they_are_in_use() {
    let with = |mut report: ConnectionReport| {
        report.server_certificate = Some(certificate("server", 100).into());
        report.client_certificate = Some(certificate("client", 200).into());
        report
    };
    for (name, reports, server, client) in [
        ("seen", vec![with(report(1, Mtls))], true, true),
        ("resumed later", vec![with(report(1, Mtls)), report(2, Mtls)], true, true),
        ("refused", vec![with(rejected(report(1, Mtls)))], true, true),
        ("unreadable later", vec![with(report(1, Mtls)), report(2, Unknown)], true, true),
        ("one-way too", vec![with(report(1, Mtls)), report(2, Tls)], true, true),
        ("clear text too", vec![with(report(1, Mtls)), report(2, Plaintext)], true, true),
        ("never any", vec![report(1, Mtls)], false, false),
    ] {
        let hop = only_hop(reports);
        assert_eq!(hop.server_certificate.is_some(), server, "{name}: server");
        assert_eq!(hop.client_certificate.is_some(), client, "{name}: client");
    }
}

#[test]
fn resumed_connections_keep_the_answer_on_verification() {
    let verified = |mut report: ConnectionReport, answer| {
        report.verdict.server_verified = answer;
        report
    };
    let resumed = |mut report: ConnectionReport| {
        report.resumed = Some(true);
        report
    };
    let full = || verified(report(1, Mtls), ServerVerified::Yes);
    for (name, later, want) in [
        ("resumed", resumed(report(2, Mtls)), ServerVerified::Yes),
        ("full and silent", report(2, Mtls), ServerVerified::Unknown),
        ("full and failing", verified(report(2, Tls), ServerVerified::No), ServerVerified::No),
    ] {
        assert_eq!(only_hop([full(), later]).state.server_verified, want, "{name}");
    }
}

#[test]
fn hops_beyond_the_limit_share_one_that_never_claims_mtls() {
    let mut table = table(2);
    for (connection, security) in [Mtls, Mtls, Mtls, Tls, Mtls].into_iter().enumerate() {
        let connection = connection as u64;
        table.record(&to(report(connection, security), &format!("10.0.0.{connection}:443")), at(1.0));
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
                table.record_between(&ends, &report, None, moment);
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
fn between(
    table: &mut HopTable,
    proxy: &str,
    upstream: &str,
    report: &ConnectionReport,
    seconds: f64,
) {
    let ends = Ends { proxy: proxy.into(), upstream: upstream.into(), pod: None };
    table.record_between(&ends, report, None, at(seconds));
}

#[test]
fn a_named_upstream_is_the_worst_of_its_servers_in_use() {
    let (a, b) = ("10.0.0.1:443", "10.0.0.2:443");
    for (name, reports, want) in [
        ("all mutual", vec![(a, Mtls, 0.0), (b, Mtls, 1.0)], Mtls),
        ("one is one-way", vec![(a, Tls, 0.0), (b, Mtls, 1.0)], Tls),
        ("one is plaintext", vec![(a, Mtls, 0.0), (b, Plaintext, 1.0), (a, Mtls, 2.0)], Plaintext),
        ("one is both", vec![(a, Plaintext, 0.0), (b, Mtls, 1.0), (a, Mtls, 2.0)], Plaintext),
        (
            "one was the other for long",
            vec![(a, Plaintext, 0.0), (b, Mtls, 1.0), (a, Mtls, 7201.0)],
            Mtls,
        ),
        ("one is used once an hour", vec![(a, Plaintext, 0.0), (b, Mtls, 3600.0)], Plaintext),
        ("one is not used any more", vec![(a, Plaintext, 0.0), (b, Mtls, 7201.0)], Mtls),
        ("one is not known", vec![(a, Unknown, 0.0), (b, Mtls, 1.0)], Mtls),
        ("the one in use is not known", vec![(a, Tls, 0.0), (b, Unknown, 301.0)], Tls),
        ("none is known", vec![(a, Unknown, 0.0), (b, Unknown, 1.0)], Unknown),
    ] {
        let mut table = table(10);
        for (connection, (address, security, at)) in (1..).zip(reports) {
            let report = to(report(connection, security), address);
            between(&mut table, "nginx", "payments", &report, at);
        }
        let hops = table.snapshot(0.0).hops;
        assert_eq!((hops.len(), hops[0].state.security), (1, want), "{name}");
        assert!(hops[0].is_to(b.parse().expect("an address")), "{name}");
    }
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
fn only(table: &HopTable) -> Hop {
    let snapshot = table.snapshot(0.0);
    assert_eq!(snapshot.hops.len(), 1);
    Hop::clone(&snapshot.hops[0])
}

/// Every order of up to five connections over two servers and two routes: the hop is never better
/// than the worst of them, and verification no better than the worst answer.
#[test]
fn no_order_of_connections_makes_a_hop_better_than_its_worst() {
    const KINDS: [(&str, crate::model::Security, ServerVerified); 4] = [
        ("10.0.0.1:443", Mtls, ServerVerified::Yes),
        ("10.0.0.1:443", Tls, ServerVerified::Yes),
        ("10.0.0.2:443", Mtls, ServerVerified::No),
        ("10.0.0.2:443", Plaintext, ServerVerified::Unknown),
    ];
    let rank = |security| match security {
        Plaintext => 0,
        Tls => 1,
        Mtls => 2,
        Unknown => 3,
    };
    for length in 1..=5_u32 {
        for order in 0..4_usize.pow(length) {
            let kinds: Vec<_> = (0..length).map(|turn| KINDS[order >> (2 * turn) & 3]).collect();
            let mut table = table(10);
            let mut flips = 0;
            let mut last = None;
            for (connection, (address, security, verified)) in (1..).zip(&kinds) {
                let mut report = to(report(connection, *security), address);
                report.verdict.server_verified = *verified;
                between(&mut table, "nginx", "payments", &report, 1.0);
                let now = only(&table).state.security;
                flips += usize::from(last.is_some_and(|last| rank(last) < rank(now)));
                last = Some(now);
            }
            let hop = only(&table);
            let worst = kinds.iter().map(|kind| rank(kind.1)).min().expect("some");
            assert_eq!(rank(hop.state.security), worst, "{kinds:?}");
            assert_eq!(flips, 0, "{kinds:?}: it never looks better while all are in use");
            if worst > 0 && kinds.iter().any(|kind| kind.2 == ServerVerified::No) {
                assert_eq!(hop.state.server_verified, ServerVerified::No, "{kinds:?}");
            }
        }
    }
}

#[test]
fn a_treatment_ends_with_the_configuration_that_caused_it() {
    use crate::{
        hops::context::IntentSummary,
        policy::intent::{Scheme, Stated},
    };
    let asked_in_vain = |connection| {
        let mut report = report(connection, Tls);
        report.verdict.client_auth = ClientAuth::RequestedNotPresented;
        report
    };
    let (nginx, payments) = ("nginx".into(), "payments".into());
    for (name, client_certificate, load, seen_again, want) in [
        ("mended and loaded", Stated::Yes, 50.0, false, Mtls),
        ("loaded, one route still without", Stated::Mixed, 50.0, false, Tls),
        ("the same configuration", Stated::Yes, 10.0, false, Tls),
        ("an old worker goes on", Stated::Yes, 50.0, true, Tls),
    ] {
        let mut table = table(10);
        let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
        table.record_between(&ends, &asked_in_vain(1), Some(10.0), at(20.0));
        table.record_between(&ends, &report(2, Mtls), Some(10.0), at(21.0));
        assert_eq!(only(&table).state.security, Tls, "{name}: before");
        if seen_again {
            table.record_between(&ends, &asked_in_vain(4), Some(10.0), at(59.0));
        }
        table.record_between(&ends, &report(3, Mtls), Some(load), at(60.0));
        let intent = IntentSummary {
            scheme: Scheme::Tls,
            client_certificate,
            verify: Stated::Yes,
            place: None,
        };
        let context =
            HopContext { intent: Some(intent), loaded_at: Some(load), ..HopContext::default() };
        table.describe(&nginx, &payments, context, at(61.0));
        assert_eq!(only(&table).state.security, want, "{name}");
        table.expire(at(70.0));
        let after_settling = if seen_again { Mtls } else { want };
        assert_eq!(only(&table).state.security, after_settling, "{name}: with time");
    }
}

#[test]
fn servers_that_are_no_longer_listed_have_no_say() {
    let (a, b) = ("10.0.0.1:443", "10.0.0.2:443");
    let mut table = table(10);
    between(&mut table, "nginx", "payments", &to(report(1, Plaintext), a), 1.0);
    between(&mut table, "nginx", "payments", &to(report(2, Mtls), b), 2.0);
    assert_eq!(only(&table).state.security, Plaintext);
    let (nginx, payments) = ("nginx".into(), "payments".into());
    let is = |listed: &'static str| move |address: SocketAddr| address.to_string() == listed;
    table.retain_servers(&nginx, &payments, is("10.0.0.9:443"), at(3.0));
    assert_eq!(only(&table).state.security, Plaintext, "a list with none of them is not believed");
    table.retain_servers(&nginx, &payments, is(b), at(3.0));
    assert_eq!(only(&table).state.security, Mtls);
}

#[test]
fn the_certificate_that_ends_first_is_shown_and_renewal_ends_it() {
    let (a, b) = ("10.0.0.1:443", "10.0.0.2:443");
    let with = |connection, address, not_before, not_after| {
        let mut facts = certificate("upstream", not_after);
        facts.not_before = not_before;
        let mut report = to(report(connection, Mtls), address);
        report.server_certificate = Some(facts.into());
        report
    };
    let shown = |table: &HopTable| only(table).server_certificate.expect("one").not_after;
    let mut table = table(10);
    for (connection, (report, seconds, want, what)) in [
        (with(1, a, 0, 100), 1.0, 100, "the only one"),
        (with(2, b, 0, 900), 2.0, 100, "another server's ends later"),
        (with(3, a, 0, 100), 3.0, 100, "alternating changes nothing"),
        (with(4, a, 50, 800), 4.0, 100, "renewed, the old one seen a second ago"),
        (with(5, a, 50, 800), 400.0, 800, "renewed, the old one not seen for minutes"),
    ]
    .into_iter()
    .enumerate()
    {
        between(&mut table, "nginx", "payments", &report, seconds);
        assert_eq!(shown(&table), want, "{connection}: {what}");
    }
}

#[test]
fn an_answer_that_could_not_be_seen_gives_way_to_one_that_was() {
    let verified = |connection, answer| {
        let mut report = report(connection, Mtls);
        report.verdict.server_verified = answer;
        report
    };
    let mut table = table(10);
    for (connection, answer, seconds, want) in [
        (1, ServerVerified::Unknown, 0.0, ServerVerified::Unknown),
        (2, ServerVerified::Yes, 10.0, ServerVerified::Unknown),
        (3, ServerVerified::Yes, 301.0, ServerVerified::Yes),
        (4, ServerVerified::No, 302.0, ServerVerified::No),
        (5, ServerVerified::Yes, 900.0, ServerVerified::No),
    ] {
        between(&mut table, "nginx", "payments", &verified(connection, answer), seconds);
        assert_eq!(only(&table).state.server_verified, want, "connection {connection}");
    }
}
