//! The exposition as a whole: against a golden file and against `promtool`.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::*;
use hopsight_capture::ProgramStats;
use hopsight_core::{
    health::ComponentState,
    model::{
        Outcome, Reason,
        Security::{Mtls, Plaintext, Tls, Unknown},
        ServerVerified,
    },
    pipeline::Evictions,
};
use hopsight_export::{
    Exporter,
    events::Events,
    metrics::{
        arrivals::Arrivals,
        catalogue::METRICS,
        drift::{DriftBoard, DriftView},
        policy::{ExemptHop, PolicyView},
        samples::Samples,
    },
};
use hopsight_posture::{
    hops::{
        context::{HopContext, IntentSummary},
        ends::Ends,
        evaluation::Evaluation,
        onward::{ContinuesEncrypted, Onward},
        table::HopLimits,
        testing::{at, certificate, process, rejected, report, to},
    },
    policy::{
        drift::{OpenDrift, Rule, Violation},
        exempt::Exemptions,
        intent::{Scheme, Stated},
        time::UnixTime,
    },
};

/// When the first report comes, seconds since the Unix epoch.
const START: f64 = 1.7e9;

/// One hop of every kind, hostile names included, and every number other parts would register.
fn populated() -> Exporter {
    let limits = HopLimits { max_hops: 5, ..HopLimits::default() };
    let mut events = Events::default();
    events.write_to("file", Box::new(std::io::sink())).expect("thread");
    let exporter = Exporter::with_events(limits, events);
    let mut mutual = report(1, Mtls);
    mutual.verdict.server_verified = ServerVerified::Yes;
    mutual.server_certificate = Some(certificate("upstream", 1_800_000_000).into());
    mutual.client_certificate = Some(certificate("proxy", 1_750_000_000).into());
    let mut failed = to(report(5, Unknown), "10.0.0.4:443");
    failed.verdict.outcome = Outcome::Failed;
    let mut hostile = to(report(6, Tls), "[2001:db8::1]:8443");
    hostile.origin = process("a\"b\\c\nd");
    let mut resumed = report(7, Mtls);
    resumed.resumed = Some(true);
    let mut unseen = to(report(9, Unknown), "10.0.0.9:443");
    unseen.verdict.reason = Some(Reason::ResumedUnseen);
    let reports = [
        mutual,
        to(report(2, Tls), "10.0.0.2:443"),
        to(report(3, Plaintext), "10.0.0.3:80"),
        rejected(to(report(4, Mtls), "10.0.0.4:443")),
        failed,
        hostile,
        resumed,
        to(report(8, Plaintext), "10.0.0.8:80"),
        unseen,
    ];
    let by = "ztunnel (process 7, port 15001)";
    let onward = Onward { continues_encrypted: ContinuesEncrypted::Unknown, by: by.into() };
    for (second, report) in (0..).zip(&reports) {
        let onward = (report.verdict.security == Plaintext).then(|| onward.clone());
        let evaluation = Evaluation { onward, ..Evaluation::default() };
        let now = at(START + f64::from(second));
        exporter.record_between(&Ends::of(report), report, evaluation, now);
    }
    let intent = IntentSummary {
        scheme: Scheme::Tls,
        client_certificate: Stated::Yes,
        verify: Stated::No,
        place: None,
    };
    let context =
        HopContext { name: Some("payments".into()), intent: Some(intent), ..HopContext::default() };
    exporter.describe(&"nginx".into(), &"10.0.0.1:443".into(), |_| context);
    exporter.register(drifts());
    exporter.register(Arrivals::default());
    exporter.observe_drift_detection(Duration::from_millis(40));
    exporter.observe_drift_remediation(Duration::from_secs(90));
    exporter.observe_verdict_latency(Duration::from_micros(300));
    exporter.observe_verdict_latency(Duration::from_millis(30));
    exporter.health().set("kernel_programs", ComponentState::Ready, "6 of 6 attached");
    exporter.register(|samples: &mut Samples| {
        collect_capture(&captured(), samples);
        collect_library(&statuses(), LibraryStatuses::default().attached(), samples);
        collect_pipeline(&numbers(), samples);
        #[cfg(feature = "otlp")]
        hopsight_export::otlp::collect([3, 0], samples);
    });
    exporter
}

/// Every count of the kernel programs, each with a value of its own.
fn captured() -> CaptureStats {
    let program = ProgramStats {
        name: "egress".into(),
        id: 1,
        run_time: Duration::from_millis(250),
        run_count: 1000,
    };
    CaptureStats {
        decode_errors: 1,
        adopted: 4,
        programs: vec![program],
        ..CaptureStats::counted(
            |kind| 1000 + kind as u64,
            |lost| lost as u64,
            |count| 20 + count as u64,
        )
    }
}

/// A process that is read, and one for every reason why not.
fn statuses() -> Vec<LibraryStatus> {
    let status = |evidence| LibraryStatus { pid: 1, name: "nginx".into(), evidence };
    let hindered = NoLibrary::ALL
        .iter()
        .map(|&reason| status(LibraryEvidence::Inferred { reason, detail: String::new() }));
    hindered.collect()
}

fn numbers() -> PipelineNumbers {
    let mut evicted = Evictions::default();
    evicted.count(Eviction::TableFull);
    PipelineNumbers {
        tracked: 3,
        counters: Counters { evicted, transcripts_matched: 7, ..Counters::default() },
        transcripts_unmatched: 2,
        transcripts_damaged: 1,
    }
}

/// One open drift, one that is over, and a configuration that was not loaded.
fn drifts() -> Arc<DriftBoard> {
    // A time in the future, so that the drift's age is always zero.
    let begin = UnixTime::from_secs(99_000_000_000);
    let open = OpenDrift {
        proxy: "nginx".into(),
        upstream: "10.0.0.3:80".into(),
        name: None,
        rule: Rule::Plaintext,
        violation: Violation { detail: "in the clear".into(), place: None, certificate: None },
        since: begin,
        detected_at: begin,
        changed_at: None,
        last_offending: begin,
        connections: 1,
        server: "10.0.0.3:80".parse().expect("literal"),
        preexisting: false,
    };
    let board = Arc::new(DriftBoard::default());
    board.show(DriftView {
        open: vec![open],
        mended: vec![("web/edge".into(), "10.0.0.2:443".into(), Rule::UpstreamNotVerified)],
        pending_reload: vec![("nginx".into(), true), ("web/edge".into(), false)],
        policy: policy_view(),
        workloads: vec![["web/edge".into(), "web".into(), "Deployment".into(), "edge".into()]],
        beyond_limit: 0,
    });
    board
}

/// A policy that applies to something and one that does not, and a hop that is exempt.
fn policy_view() -> PolicyView {
    let text = "[[exempt]]\nname = \"mainframe\"\nmatch.upstream = \"legacy\"\n\
                rules = [\"plaintext\"]\nowner = \"payments\"\nreason = \"soon\"\n\
                until = 2027-03-31\n";
    let exemptions = Exemptions::parse(text).expect("an exemption");
    let exemptions: Vec<_> = exemptions.iter().cloned().collect();
    let exempt = ExemptHop {
        proxy: "web/edge".into(),
        upstream: "legacy".into(),
        exemption: exemptions[0].clone(),
    };
    PolicyView {
        sha256: None,
        matched: vec![("mutual".into(), 3), ("unused".into(), 0)],
        exemptions,
        exempt: vec![exempt],
    }
}

/// The exposition with the values that differ from run to run replaced.
fn stable(exposition: &str) -> String {
    let lines = exposition.lines().map(|line| match line.rsplit_once(' ') {
        Some((series, _))
            if series.starts_with("process_")
                || series.starts_with("hopsight_hop_authentication_age_seconds{") =>
        {
            format!("{series} X\n")
        }
        Some((series, value)) if series.starts_with("hopsight_build_info{") => {
            format!("hopsight_build_info{{…}} {value}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn exposition_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/run/testdata/exposition.txt");
    let got = stable(&populated().gather().expect("exposition"));
    if std::env::var_os("HOPSIGHT_BLESS").is_some() {
        std::fs::write(path, &got).expect("write the golden file");
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert!(got == want, "differs from {path}; if intended, run with HOPSIGHT_BLESS=1:\n{got}");
}

#[test]
fn every_metric_is_shown() {
    let exposition = populated().gather().expect("exposition");
    for metric in METRICS {
        let (name, kind) = (metric.name, metric.kind.as_str());
        assert!(exposition.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
    }
}

#[test]
fn promtool_accepts_the_exposition() {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        hopsight_test_support::not_run("promtool on the exposition", "promtool is not installed");
        return;
    };
    let exposition = populated().gather().expect("exposition");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(exposition.as_bytes()).expect("write");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}\n{exposition}");
}

#[test]
fn series_of_expired_hops_disappear() {
    let exporter = populated();
    assert!(exporter.gather().expect("exposition").contains("10.0.0.2:443"));
    exporter.tick(at(START + 48.0 * 3600.0));
    let exposition = exporter.gather().expect("exposition");
    let of_hops = exposition.lines().filter(|line| line.contains("{proxy="));
    let of_hops: Vec<_> = of_hops.filter(|line| !line.contains("drift")).collect();
    let drift = [
        "hopsight_policy_violation",
        "hopsight_hop_exempt_until",
        "hopsight_proxy_config_pending_reload",
        "hopsight_proxy_info",
    ];
    let left = of_hops.iter().find(|line| !drift.iter().any(|name| line.starts_with(name)));
    assert_eq!(left, None, "drift and proxies alone outlive a hop");
    assert!(exposition.contains("\nhopsight_hops_expired_total 6\n"), "{exposition}");
}

/// 10,000 hops: a bound on time that only a blunder would miss, and the reported numbers.
#[test]
fn a_full_table_can_be_scraped() {
    let exporter = Exporter::new(HopLimits::default());
    for connection in 0..10_000 {
        let [_, _, high, low] = u32::to_be_bytes(connection);
        let report = to(report(connection.into(), Tls), &format!("10.1.{high}.{low}:443"));
        exporter.record_at(&report, at(START));
    }
    let exposition = exporter.gather().expect("exposition");
    assert!(exposition.contains("\nhopsight_hops 10000\n"));
    let current = exposition.matches("security=\"tls\"} 1\n").count();
    assert_eq!(current, 10_000);
}

#[test]
fn readiness_says_why_each_program_is_not_read() {
    let status = |pid, name: &str, detail: &str| LibraryStatus {
        pid,
        name: name.into(),
        evidence: LibraryEvidence::Inferred { reason: NoLibrary::StaticTls, detail: detail.into() },
    };
    let mut statuses = vec![
        status(1, "ztunnel", "linked into the program: rustls"),
        status(2, "ztunnel", "linked into the program: rustls"),
        status(3, "other", "linked into the program: rustls"),
    ];
    let each = "other: linked into the program: rustls; ztunnel: linked into the program: rustls";
    assert_eq!(details(&statuses, NoLibrary::StaticTls.as_str()), each);
    assert_eq!(details(&statuses, NoLibrary::Gone.as_str()), "");
    statuses.extend((0..9).map(|pid| status(pid, &format!("p{pid}"), "x")));
    let many = details(&statuses, NoLibrary::StaticTls.as_str());
    assert_eq!(many, "other: linked into the program: rustls; p0: x; p1: x; p2: x; ...");
}
