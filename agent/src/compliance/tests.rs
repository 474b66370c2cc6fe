use super::*;
use hopsight_core::{
    health::ComponentState,
    model::{Origin, Security},
};
use hopsight_posture::{
    hops::{
        table::HopLimits,
        testing::{process, report, to},
    },
    policy::drift::{Compliance, Rule},
};
use hopsight_system::foreign::Lane;

/// An exporter, its compliance thread, and a monotonic clock that stands still.
struct Scene {
    exporter: Exporter,
    thread: ComplianceThread,
    connections: u64,
}

const NOW: Timestamp = Timestamp(1_000_000_000_000);

impl Scene {
    fn start(options: ComplianceOptions) -> Self {
        Self::start_with(Readers::start("reader", 1).unwrap(), options)
    }

    fn start_with(readers: Readers, options: ComplianceOptions) -> Self {
        // A treatment is out of use as soon as another one was seen.
        let limits = HopLimits { treatment_stands_for: Duration::ZERO, ..HopLimits::default() };
        Self::start_within(limits, readers, options)
    }

    fn start_within(limits: HopLimits, readers: Readers, options: ComplianceOptions) -> Self {
        let exporter = Exporter::new(limits);
        let thread = ComplianceThread::start_with(readers, options, &exporter).unwrap();
        Self { exporter, thread, connections: 0 }
    }

    fn connection(&mut self, security: Security) {
        self.connections += 1;
        let mut report = to(report(self.connections, security), "10.0.0.3:80");
        report.origin = process("nginx");
        if let Origin::Process(process) = &mut report.origin {
            process.pid = std::process::id();
        }
        report.opened_at = NOW;
        self.thread.submit(Box::new(report), NOW);
    }

    /// The hop's compliance, once there is a violation or there is none.
    fn wait(&self, status: Compliance) -> Vec<Rule> {
        let begin = Instant::now();
        loop {
            let hops = self.exporter.hops().hops;
            let context = hops.first().map(|hop| hop.context.clone()).unwrap_or_default();
            let is_known = context.proxy_identity.is_some();
            let found = context.compliance.filter(|one| one.status == status && is_known);
            if let Some(compliance) = found {
                return compliance.violations.iter().map(|violation| violation.rule).collect();
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "never {status}: {hops:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the metrics contain `text`, or no longer do.
    fn wait_metric(&self, text: &str, wanted: bool) {
        let begin = Instant::now();
        while self.metrics().contains(text) != wanted {
            assert!(begin.elapsed() < Duration::from_mins(1), "{text}: {}", self.metrics());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn metrics(&self) -> String {
        self.exporter.gather().unwrap()
    }
}

const VIOLATION: &str =
    "hopsight_policy_violation{proxy=\"nginx\",upstream=\"10.0.0.3:80\",rule=\"plaintext\"}";

#[test]
fn drift_opens_outlives_a_restart_and_closes() {
    let directory = tempfile::tempdir().unwrap();
    let options = ComplianceOptions {
        state: Some(directory.path().join("made/on/demand")),
        drift: drift::Options { settle: Duration::ZERO, ..drift::Options::default() },
        ..ComplianceOptions::default()
    };
    let mut scene = Scene::start(options.clone());
    scene.connection(Security::Plaintext);
    assert_eq!(scene.wait(Compliance::Violation), [Rule::Plaintext]);
    scene.wait_metric(&format!("{VIOLATION} 1\n"), true);
    scene.wait_metric("\nhopsight_drift_detection_seconds_count 1\n", true);
    drop(scene);

    let mut scene = Scene::start(options.clone());
    let text = scene.metrics();
    assert!(text.contains(&format!("{VIOLATION} 1\n")), "open before any connection: {text}");
    assert!(text.contains("\nhopsight_drift_detection_seconds_count 1\n"), "{text}");
    thread::sleep(Duration::from_millis(2));
    scene.connection(Security::Mtls);
    assert_eq!(scene.wait(Compliance::Compliant), []);
    scene.wait_metric(&format!("{VIOLATION} 0\n"), true);
    scene.wait_metric("\nhopsight_drift_remediation_seconds_count 1\n", true);
    drop(scene);

    let text = Scene::start(options).metrics();
    assert!(text.contains("\nhopsight_drift_remediation_seconds_count 1\n"), "{text}");
}

#[test]
fn what_is_exempt_is_neither_a_violation_nor_compliant() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    let exempt = "[[policies]]\nname = \"used\"\nmatch.port = 80\nrequire = \"tls\"\n\
                  [[policies]]\nname = \"unused\"\nmatch.port = 81\nrequire = \"tls\"\n\
                  [[exempt]]\nmatch.proxy = \"nginx\"\nrules = [\"plaintext\"]\n\
                  owner = \"payments\"\nreason = \"soon\"\nuntil = ";
    fs::write(&policy, format!("{exempt}9000-01-01\n")).unwrap();
    let options =
        ComplianceOptions { policy: Some(policy.clone()), ..ComplianceOptions::default() };
    let mut scene = Scene::start(options);
    scene.connection(Security::Plaintext);
    assert_eq!(scene.wait(Compliance::Exempt), []);
    let context = scene.exporter.hops().hops[0].context.clone();
    let exemption = context.compliance.and_then(|one| one.exemption).expect("it is named");
    assert_eq!((&*exemption.owner, &*exemption.name), ("payments", "exempt-1"));
    let until = "{proxy=\"nginx\",upstream=\"10.0.0.3:80\",rule=\"plaintext\",exemption=\"exempt-1\",owner=\"payments\"}";
    scene.wait_metric(&format!("hopsight_hop_exempt_until_timestamp_seconds{until} "), true);
    scene.wait_metric("hopsight_policy_matched_hops{policy=\"used\"} 1\n", true);
    scene.wait_metric("hopsight_policy_matched_hops{policy=\"unused\"} 0\n", true);
    assert!(!scene.metrics().contains(VIOLATION), "{}", scene.metrics());

    // It ended: the hop is a violation, and a drift, without another connection.
    fs::write(&policy, format!("{exempt}1999-01-01\n")).unwrap();
    scene.wait_metric(&format!("{VIOLATION} 1\n"), true);
    assert_eq!(scene.wait(Compliance::Violation), [Rule::Plaintext]);
    scene.wait_metric("hopsight_hop_exempt_until_timestamp_seconds{", false);
}

#[test]
fn hops_outlive_a_restart_and_nothing_is_told_twice() {
    let directory = tempfile::tempdir().unwrap();
    let options = ComplianceOptions {
        state: Some(directory.path().to_owned()),
        ..ComplianceOptions::default()
    };
    let mut scene = Scene::start(options.clone());
    scene.connection(Security::Plaintext);
    scene.wait(Compliance::Violation);
    let before = scene.exporter.hops().hops;
    let written = directory.path().join(STATE_FILE);
    let begin = Instant::now();
    while !written.exists() {
        assert!(begin.elapsed() < Duration::from_mins(1), "never written");
        thread::sleep(Duration::from_millis(5));
    }
    drop(scene);

    let scene = Scene::start(options);
    let mut events = scene.exporter.events().listen();
    let after = scene.exporter.hops().hops;
    let shown =
        |hops: &[Arc<hopsight_posture::hops::hop::Hop>]| serde_json::to_value(hops).unwrap();
    assert_eq!(shown(&after), shown(&before), "before any connection");
    drop(scene);
    assert!(events.try_recv().is_err(), "nothing is told");
}

#[test]
fn a_proxy_without_a_configuration_is_not_taken_for_several_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = ComplianceOptions {
        state: Some(directory.path().to_owned()),
        ..ComplianceOptions::default()
    };
    let steps =
        [(Security::Mtls, Compliance::Compliant), (Security::Plaintext, Compliance::Violation)];
    for (security, status) in steps {
        let readers = Readers::start("reader", 1).unwrap();
        let mut scene = Scene::start_within(HopLimits::default(), readers, options.clone());
        scene.connection(security);
        scene.wait(status);
        assert!(!scene.exporter.hops().hops[0].context.is_shared, "{security}");
    }
}

#[test]
fn what_is_broken_is_said_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    fs::write(&policy, "[[policies]]\nrequire = \"tls\"\ncolour = \"red\"\n").unwrap();
    fs::write(directory.path().join(STATE_FILE), "{").unwrap();
    let options = ComplianceOptions {
        policy: Some(policy),
        state: Some(directory.path().to_owned()),
        ..ComplianceOptions::default()
    };
    let mut scene = Scene::start(options);
    let components = scene.exporter.health().readiness().components;
    for (name, words) in [("policy", "policy.toml:3:1"), ("state", "state.json.unusable")] {
        let component = &components[name];
        assert_eq!(component.state, ComponentState::Degraded, "{name}");
        assert!(component.detail.contains(words), "{name}: {}", component.detail);
    }
    scene.connection(Security::Plaintext);
    assert_eq!(scene.wait(Compliance::Violation), [Rule::Plaintext]);
    // What was lost is told until somebody has seen it, over good writes and restarts.
    let written = directory.path().join(STATE_FILE);
    let begin = Instant::now();
    while !written.exists() {
        assert!(begin.elapsed() < Duration::from_mins(1), "never written");
        thread::sleep(Duration::from_millis(5));
    }
    let state = |scene: &Scene| {
        let state = scene.exporter.health().readiness().components["state"].clone();
        (state.state, state.detail)
    };
    assert_eq!(state(&scene).0, ComponentState::Degraded, "written again");
    drop(scene);
    let options = ComplianceOptions {
        state: Some(directory.path().to_owned()),
        ..ComplianceOptions::default()
    };
    let scene = Scene::start(options);
    assert_eq!(state(&scene).0, ComponentState::Degraded, "after a restart");
    fs::remove_file(directory.path().join("state.json.unusable")).unwrap();
    let begin = Instant::now();
    while state(&scene).0 != ComponentState::Ready {
        assert!(begin.elapsed() < Duration::from_mins(1), "{:?}", state(&scene));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_never_read_holds_nothing_up() {
    // Nobody reads: as slow as a process can be.
    let readers = Readers::start("reader", 0).unwrap();
    let mut scene = Scene::start_with(readers, ComplianceOptions::default());
    scene.connection(Security::Plaintext);
    let waiting = "\nhopsight_report_waiting_seconds 0\n";
    scene.wait_metric(waiting, false);
    scene.wait_metric(&format!("{VIOLATION} 1\n"), true);
    scene.wait_metric(waiting, true);
    let components = scene.exporter.health().readiness().components;
    assert_eq!(components["threads"].state, ComponentState::Ready, "{components:?}");
}

#[test]
fn what_is_read_late_is_evaluated_then() {
    let readers = Readers::start("reader", 1).unwrap();
    let whose = Lane::of_process(std::process::id()).unwrap();
    let (go_on, held_up) = std::sync::mpsc::channel::<()>();
    let before = readers.ask(whose, move || held_up.recv().is_err());
    let mut scene = Scene::start_with(readers, ComplianceOptions::default());
    let mut events = scene.exporter.events().listen();
    scene.connection(Security::Plaintext);
    scene.wait_metric(&format!("{VIOLATION} 1\n"), true);
    let hop = || scene.exporter.hops().hops[0].clone();
    assert!(hop().context.proxy_identity.is_none(), "nothing was read");
    drop(go_on);
    let begin = Instant::now();
    while hop().context.proxy_identity.is_none() {
        assert!(begin.elapsed() < Duration::from_mins(1), "never evaluated: {:#?}", hop());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(hop().counts.count_of(|_| true), 1, "counted once");
    assert_eq!(scene.exporter.hops().hops.len(), 1);
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let connections = told.filter(|event| event.kind == "connection").count();
    assert_eq!(connections, 1, "told once");
    drop(before);
}

#[test]
fn a_full_queue_is_counted() {
    let (queue, _reports) = sync_channel(1);
    let board = Arc::new(DriftBoard::default());
    let exporter = Exporter::new(HopLimits::default());
    let thread = ComplianceThread {
        queue: Some(queue),
        exporter: exporter.clone(),
        board: board.clone(),
        arrivals: Arrivals::default(),
        thread: None,
    };
    exporter.register(board);
    for number in 0..3 {
        thread.submit(Box::new(report(number, Security::Tls)), NOW);
    }
    let text = exporter.gather().unwrap();
    assert!(text.contains("dropped_total{reason=\"queue_full\"} 2\n"), "{text}");
    assert_eq!(
        exporter.hops().hops[0].counts.count_of(|_| true),
        2,
        "they are counted all the same"
    );
}
