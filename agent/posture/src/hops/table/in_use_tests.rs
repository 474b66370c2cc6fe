//! What a hop is, by the treatments and certificates in use.

use hopsight_core::model::{
    ClientAuth, Outcome, Reason,
    Security::{Mtls, Plaintext, Tls, Unknown},
    ServerVerified,
};

use super::{
    tests::{between, only, only_hop, table},
    *,
};
use crate::{
    hops::{
        context::IntentSummary,
        testing::{at, certificate, early, rejected, report, to},
    },
    policy::intent::{Scheme, Stated},
};

#[test]
fn older_sessions_leave_a_hop_that_is_silent() {
    let mut table = table(10);
    let mut unseen = report(1, Unknown);
    unseen.verdict.reason = Some(Reason::ResumedUnseen);
    table.record(&unseen, at(10.0));
    for (now, are_there) in [(7_200.0, true), (7_211.0, false)] {
        table.expire(at(now));
        assert_eq!(only(&table).older_sessions.is_some(), are_there, "at {now} s");
    }
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
        ("one is not known", vec![(a, Unknown, 0.0), (b, Mtls, 1.0)], Unknown),
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

/// Every order of up to five connections over two servers and two routes: the hop is never better
/// than the worst of them, and verification no better than the worst answer.
#[test]
fn no_order_of_connections_makes_a_hop_better_than_its_worst() {
    const KINDS: [(&str, hopsight_core::model::Security, ServerVerified); 4] = [
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
    let asked_in_vain = |connection| {
        let mut report = report(connection, Tls);
        report.verdict.client_auth = ClientAuth::RequestedNotPresented;
        report
    };
    let loaded = |at| Evaluation { loaded_at: Some(at), ..Evaluation::default() };
    let (nginx, payments) = ("nginx".into(), "payments".into());
    for (name, client_certificate, load, seen_again, want) in [
        ("mended and loaded", Stated::Yes, 50.0, false, Mtls),
        ("loaded, one route still without", Stated::Mixed, 50.0, false, Tls),
        ("the same configuration", Stated::Yes, 10.0, false, Tls),
        ("an old worker goes on", Stated::Yes, 50.0, true, Tls),
    ] {
        let mut table = table(10);
        let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
        table.record_between(&ends, &asked_in_vain(1), loaded(10.0), at(20.0));
        table.record_between(&ends, &report(2, Mtls), loaded(10.0), at(21.0));
        assert_eq!(only(&table).state.security, Tls, "{name}: before");
        if seen_again {
            table.record_between(&ends, &asked_in_vain(4), loaded(10.0), at(59.0));
        }
        table.record_between(&ends, &report(3, Mtls), loaded(load), at(60.0));
        let intent = IntentSummary {
            scheme: Scheme::Tls,
            client_certificate,
            verify: Stated::Yes,
            place: None,
        };
        let context =
            HopContext { intent: Some(intent), loaded_at: Some(load), ..HopContext::default() };
        table.describe(&nginx, &payments, |_| context, at(61.0));
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
    let is = |listed: &'static str| move |server: &Server| server.address.to_string() == listed;
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

/// Where every route is to verify, one handshake that was lost says nothing beside those that were seen.
#[test]
fn an_answer_that_could_not_be_seen_is_as_configured_for_a_while() {
    let (yes, no, unknown) = (ServerVerified::Yes, ServerVerified::No, ServerVerified::Unknown);
    for (name, answers, is_to_verify, want) in [
        ("configured and seen", vec![(yes, 0.0), (unknown, 9.0)], true, yes),
        ("seen", vec![(yes, 0.0), (unknown, 9.0)], false, unknown),
        ("configured", vec![(unknown, 9.0)], true, unknown),
        ("never seen again", vec![(yes, 0.0), (unknown, 9.0), (unknown, 301.0)], true, unknown),
        ("seen otherwise", vec![(yes, 0.0), (unknown, 9.0), (no, 10.0)], true, no),
        ("seen otherwise before", vec![(no, 0.0), (unknown, 9.0)], true, no),
    ] {
        let mut table = table(10);
        let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
        for (connection, (answer, seconds)) in (1..).zip(answers) {
            let mut report = report(connection, Tls);
            report.verdict.server_verified = answer;
            let evaluation = Evaluation { is_to_verify, ..Evaluation::default() };
            table.record_between(&ends, &report, evaluation, at(seconds));
        }
        assert_eq!(only(&table).state.server_verified, want, "{name}");
    }
}

#[test]
fn a_handshake_that_goes_on_changes_no_answer_on_verification() {
    let verified = |connection, answer| {
        let mut report = report(connection, Tls);
        report.verdict.server_verified = answer;
        report
    };
    let (yes, no, unknown) = (ServerVerified::Yes, ServerVerified::No, ServerVerified::Unknown);
    for (name, reports, want) in [
        ("the first", vec![early(verified(1, unknown))], unknown),
        ("the first, over", vec![early(verified(1, unknown)), verified(1, yes)], yes),
        ("another", vec![verified(1, yes), early(verified(2, unknown))], yes),
        (
            "it turns out worse",
            vec![verified(1, yes), early(verified(2, unknown)), verified(2, no)],
            no,
        ),
        (
            "it turns out unknown",
            vec![verified(1, yes), early(verified(2, unknown)), verified(2, unknown)],
            unknown,
        ),
        ("it is worse already", vec![verified(1, yes), early(verified(2, no))], no),
    ] {
        assert_eq!(only_hop(reports).state.server_verified, want, "{name}");
    }
    // Nor does it keep an answer in use that is not its own.
    let hop = only_hop([verified(1, no), early(verified(2, unknown)), verified(2, yes)]);
    let last_seen = |answer| hop.treatments().find(|one| one.server_verified == answer);
    assert_eq!(last_seen(no).map(|one| one.last_seen), Some(0.0), "{hop:#?}");
}

#[test]
fn what_a_new_configuration_rules_out_is_gone_with_it() {
    use crate::{
        hops::context::IntentSummary,
        policy::intent::{Scheme, Stated},
    };
    let (asked, not_asked) = (ClientAuth::RequestedNotPresented, ClientAuth::NotRequested);
    let (yes, no, unknown) = (ServerVerified::Yes, ServerVerified::No, ServerVerified::Unknown);
    let tls = |client_certificate, verify| (Scheme::Tls, client_certificate, verify);
    for (name, (security, client_auth, verified), (scheme, client_certificate, verify), is_gone) in [
        ("asked in vain", (Tls, asked, yes), tls(Stated::Yes, Stated::Yes), true),
        ("asked in vain, still none", (Tls, asked, yes), tls(Stated::No, Stated::Yes), false),
        ("asked in vain, unchecked", (Tls, asked, no), tls(Stated::No, Stated::Yes), true),
        ("unchecked", (Tls, not_asked, no), tls(Stated::No, Stated::Yes), true),
        ("unchecked by a route", (Tls, not_asked, no), tls(Stated::No, Stated::Mixed), false),
        ("not known to be checked", (Tls, not_asked, unknown), tls(Stated::No, Stated::Yes), false),
        ("in the clear", (Plaintext, not_asked, unknown), tls(Stated::No, Stated::No), true),
        (
            "in the clear by a variable",
            (Plaintext, not_asked, unknown),
            (Scheme::Unknown, Stated::No, Stated::No),
            false,
        ),
        (
            "TLS where there is none",
            (Tls, not_asked, yes),
            (Scheme::Plaintext, Stated::No, Stated::No),
            true,
        ),
    ] {
        let mut table = table(10);
        let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
        let loaded = |at| Evaluation { loaded_at: Some(at), ..Evaluation::default() };
        let mut old = report(1, security);
        (old.verdict.client_auth, old.verdict.server_verified) = (client_auth, verified);
        table.record_between(&ends, &old, loaded(10.0), at(20.0));
        table.record_between(&ends, &report(2, Mtls), loaded(50.0), at(60.0));
        let intent = IntentSummary { scheme, client_certificate, verify, place: None };
        let described = |_: &HopContext| HopContext {
            intent: Some(intent),
            loaded_at: Some(50.0),
            ..HopContext::default()
        };
        table.describe(&ends.proxy, &ends.upstream, described, at(61.0));
        let left =
            only(&table).treatments().filter(|one| one.key().client_auth == client_auth).count();
        assert_eq!(left == 0, is_gone, "{name}");
    }
}
