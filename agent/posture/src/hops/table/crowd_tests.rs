//! More than there is room for: what is bad stays to be seen.

use hopsight_core::model::{
    Security::{self, Mtls, Plaintext, Tls, Unknown},
    ServerVerified,
};

use super::{
    tests::{between, only, table},
    *,
};
use crate::{
    hops::{
        context::IntentSummary,
        server::MAX_SERVERS,
        testing::{at, certificate, report, to},
    },
    policy::intent::{Scheme, Stated},
};

fn server(number: u32, security: Security, verified: ServerVerified) -> ConnectionReport {
    let mut report = to(report(number.into(), security), &format!("10.0.{number}.1:443"));
    report.verdict.server_verified = verified;
    report
}

#[test]
fn no_server_that_decides_what_a_hop_is_gives_way_to_others() {
    let (yes, no) = (ServerVerified::Yes, ServerVerified::No);
    for (name, bad, good, want) in [
        ("one that is not checked", vec![(Tls, no)], (Tls, yes), (Tls, no)),
        ("one in the clear", vec![(Plaintext, no)], (Mtls, yes), (Plaintext, no)),
        ("two, each bad in its way", vec![(Mtls, no), (Tls, yes)], (Mtls, yes), (Tls, no)),
        ("one that is bad among others as bad", vec![(Mtls, no)], (Tls, yes), (Tls, no)),
    ] {
        for is_first in [true, false] {
            let mut table = table(10);
            let many = (0..100).map(|_| good);
            let all: Vec<_> = if is_first {
                bad.iter().copied().chain(many).collect()
            } else {
                many.chain(bad.iter().copied()).chain((0..100).map(|_| good)).collect()
            };
            for (number, (security, verified)) in (0..).zip(all) {
                let report = server(number, security, verified);
                let second = f64::from(number) / 100.0;
                between(&mut table, "nginx", "payments", &report, second);
            }
            let hop = only(&table);
            assert_eq!(hop.servers.len(), MAX_SERVERS, "{name}");
            assert_eq!((hop.state.security, hop.state.server_verified), want, "{name}: {is_first}");
        }
    }
}

#[test]
fn what_stands_for_many_upstreams_is_the_worst_of_them_while_that_is_in_use() {
    let (yes, no) = (ServerVerified::Yes, ServerVerified::No);
    let mut table = table(1);
    let mut seen = |number, security, verified, second: f64| {
        table.record(&server(number, security, verified), at(second));
        table.expire(at(second));
        let hops = table.snapshot(0.0).hops;
        let other = hops.iter().find(|hop| hop.is_overflow());
        other.map(|hop| (hop.state.security, hop.state.server_verified))
    };
    assert_eq!(seen(0, Mtls, yes, 0.0), None);
    assert_eq!(seen(1, Mtls, yes, 1.0), Some((Unknown, ServerVerified::Unknown)), "of many one");
    assert_eq!(seen(2, Tls, no, 2.0), Some((Tls, no)));
    assert_eq!(seen(3, Tls, yes, 3.0), Some((Tls, no)), "a better one came later");
    assert_eq!(seen(2, Tls, no, 4.0), Some((Tls, no)));
    assert_eq!(seen(3, Tls, yes, 7_300.0), Some((Tls, yes)), "the worst is out of use");
}

/// Six names on one server, each with its own certificate, asked for by turns.
#[test]
fn the_certificate_that_ends_first_stays_among_many() {
    let mut table = table(10);
    for (connection, name) in (0..120_u32).map(|turn| (turn, turn % 12)) {
        let ends_at = if name == 3 { 2 } else { 300 + i64::from(name) };
        let mut report = report(connection.into(), Tls);
        report.server_certificate = Some(certificate(&format!("n{name}"), ends_at).into());
        between(&mut table, "nginx", "payments", &report, connection.into());
        if connection >= 3 {
            let hop = only(&table);
            assert_eq!(hop.server_certificate.map(|one| one.not_after), Some(2), "{connection}");
        }
    }
}

#[test]
fn a_certificate_of_another_kind_of_key_is_out_of_use_when_nobody_sees_it() {
    let with = |connection, kind: &str, not_after| {
        let mut facts = certificate("server", not_after);
        facts.public_key = kind.into();
        let mut report = report(connection, Tls);
        report.server_certificate = Some(facts.into());
        report
    };
    let mut table = table(10);
    for (second, kind, not_after, want) in [
        (0.0, "p256", 100, 100),
        (10.0, "rsa2048", 900, 100),
        (3_600.0, "rsa2048", 900, 100),
        (7_201.0, "rsa2048", 900, 900),
    ] {
        between(&mut table, "nginx", "payments", &with(1, kind, not_after), second);
        let shown = only(&table).server_certificate.map(|one| one.not_after);
        assert_eq!(shown, Some(want), "after {second} s");
    }
}

#[test]
fn a_client_certificate_is_remembered_when_its_hop_has_ended() {
    let limits = HopLimits { idle_expiry: Duration::from_mins(1), ..HopLimits::default() };
    let mut table = HopTable::new(limits);
    let (nginx, payments): (Arc<str>, Arc<str>) = ("nginx".into(), "payments".into());
    let address = "10.0.0.1:443".parse().expect("an address");
    between(&mut table, "nginx", "payments", &report(1, Mtls), 1.0);
    let intent = IntentSummary {
        scheme: Scheme::Tls,
        client_certificate: Stated::Yes,
        verify: Stated::Yes,
        place: None,
    };
    let describe = |_: &HopContext| HopContext {
        name: Some("payments".into()),
        intent: Some(intent),
        loaded_at: Some(0.5),
        ..HopContext::default()
    };
    table.describe(&nginx, &payments, describe, at(1.0));
    let check = |table: &HopTable, when: &str| {
        for (name, proxy, upstream, is_configured, want) in [
            ("the same name", "nginx", "payments", true, Some(0.5)),
            ("another name instead", "nginx", "billing", false, Some(0.5)),
            ("another name beside it", "nginx", "billing", true, None),
            ("another proxy", "web/edge", "payments", false, None),
        ] {
            let found = table.had_client_certificate(proxy, upstream, address, |_| is_configured);
            assert_eq!(found, want, "{when}: {name}");
        }
    };
    check(&table, "in use");
    table.expire(at(100.0));
    assert!(table.is_empty());
    check(&table, "expired");
    let table = crate::hops::kept::tests::restarted(&table, 101.0, at(102.0));
    check(&table, "after a restart");
}
