//! Serves the agent's page with made-up hops, to look at it and to test it without a kernel.
//!
//! `cargo run -p hopsight-tests --bin hopsight-page-demo -- HOPS [ADDRESS:PORT]`: that many hops, and
//! a new connection of one of them four times a second. The hops are the same in every run.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use hopsight_core::{
    health::ComponentState, model::Security, report::ConnectionReport,
    tls::fingerprint::Fingerprint,
};
use hopsight_export::{
    Exporter, Watched,
    events::Events,
    http::{self, HttpLimits},
};
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopContext, HopViolation, IntentSummary},
        labels,
        table::HopLimits,
        witness::{Losses, Witness},
    },
    policy::{
        drift::{Compliance, Rule},
        intent::{Place, Scheme, Stated},
    },
};
use hopsight_tools::made_up::{connection, hash};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let hops: u64 = args.next().context("say how many hops")?.parse().context("read HOPS")?;
    let address: SocketAddr =
        args.next().as_deref().unwrap_or("127.0.0.1:9464").parse().context("read ADDRESS:PORT")?;
    anyhow::ensure!(hops > 0, "at least one hop");
    let witness = Witness { node: Some("node-1".into()), ..Witness::default() };
    let exporter = Exporter::with_events(HopLimits::default(), Events::of(witness));
    exporter.watched_by(|| Watched {
        since: 1_795_000_000.0,
        kernel_programs: Fingerprint::of(b"none"),
        policy: None,
        events_received: 0,
        lost: Losses::default(),
    });
    exporter.health().set("kernel_programs", ComponentState::Ready, "made-up connections");
    for number in 0..hops * 4 {
        let report = connection(number % hops, number);
        exporter.record(&report);
        describe(&exporter, &report);
    }
    let listener = http::bind(address)?;
    println!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let traffic = exporter.clone();
    runtime.spawn(async move {
        for number in hops * 4.. {
            tokio::time::sleep(Duration::from_millis(250)).await;
            traffic.record(&connection(hash(number) % hops, number));
        }
    });
    let (limits, hosts) = (HttpLimits::default(), http::Hosts::default());
    runtime.block_on(http::serve(listener, exporter, limits, hosts, std::future::pending()))
}

/// What a configuration and a policy would say: clear text is a violation.
fn describe(exporter: &Exporter, report: &ConnectionReport) {
    let place = Place { file: "/etc/nginx/conf.d/upstreams.conf".into(), line: 17 };
    let is_violation = report.verdict.security == Security::Plaintext;
    let violation = HopViolation {
        rule: Rule::Plaintext,
        detail: "application bytes in the clear where TLS is required".into(),
        place: Some(place.clone()),
        since: 1_795_000_000.0,
        preexisting: false,
    };
    let context = HopContext {
        name: Some(format!("pool_{}", report.destination.ip()).into()),
        intent: Some(IntentSummary {
            scheme: Scheme::Tls,
            client_certificate: Stated::Yes,
            verify: Stated::No,
            place: Some(place),
        }),
        compliance: Some(HopCompliance {
            status: if is_violation { Compliance::Violation } else { Compliance::Compliant },
            policy: "internal".into(),
            violations: is_violation.then_some(violation).into_iter().collect(),
            exemption: None,
        }),
        ..HopContext::default()
    };
    exporter.describe(&labels::proxy(&report.origin), &labels::upstream(report), |_| context);
}
