//! The Helm chart, rendered with Helm's own SDK and checked against Kubernetes' schemas.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hopsight::config::Config;
use hopsight_tests::golden;

/// Names the Python that has the Helm SDK; `cargo xtask test` sets it.
const PYTHON: &str = "HOPSIGHT_CHART_PYTHON";

pub(super) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/deploy")
}

/// Runs `render.py`; `None` (and a line that says so) without the SDK.
pub(super) fn render(test: &str, what: &str) -> Option<Output> {
    let Some(python) = env::var_os(PYTHON) else {
        hopsight_test_support::not_run(
            test,
            &format!("{PYTHON} is not set (`cargo xtask test` sets it)"),
        );
        return None;
    };
    let deploy = deploy();
    let mut command = Command::new(python);
    command.arg(deploy.join("render.py")).arg(deploy.join("chart")).arg(what);
    Some(command.output().unwrap())
}

pub(super) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_linter_finds_nothing() {
    let Some(output) = render("the_linter_finds_nothing", "--lint") else { return };
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_set_of_values_renders_to_what_kubernetes_knows() {
    let name = "every_set_of_values_renders_to_what_kubernetes_knows";
    let mut sets: Vec<_> = fs::read_dir(deploy().join("chart/ci"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    sets.sort();
    assert!(sets.len() >= 4, "{sets:?}");
    for set in sets {
        let Some(output) = render(name, set.to_str().unwrap()) else { return };
        let rendered = text(&output);
        assert!(output.status.success(), "{}: {rendered}", set.display());
        let kinds = rendered.lines().filter_map(|line| line.strip_prefix("kind: "));
        println!("{}: {}", set.file_name().unwrap().display(), kinds.collect::<Vec<_>>().join(" "));
        let has = |line: &str| rendered.lines().any(|found| found.trim() == line);
        assert!(has("hostPID: true") && has("hostNetwork: false"), "{}", set.display());
        assert!(has("readOnlyRootFilesystem: true"), "{}", set.display());
        let wants_privileged = set.ends_with("privileged.yaml");
        assert_eq!(has("privileged: true"), wants_privileged, "{}", set.display());
        assert_eq!(has("drop: [ALL]"), !wants_privileged, "{}", set.display());
        let has_rights = rendered.contains("kind: ClusterRole\n");
        assert_eq!(has_rights, !set.ends_with("least.yaml"), "{}", set.display());
    }
}

/// Whoever is woken by an alert has no checkout of this repository.
#[test]
fn runbooks_have_absolute_addresses() {
    let path = deploy().join("chart/ci/everything.yaml");
    let name = "runbooks_have_absolute_addresses";
    let Some(output) = render(name, path.to_str().unwrap()) else { return };
    let rendered = text(&output);
    let links = rendered.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    let links: Vec<_> = links.collect();
    assert!(links.len() >= 12, "{links:?}");
    let base = "https://git.example.org/hopsight/blob/main/dashboards/runbooks/";
    let relative: Vec<_> = links.iter().filter(|link| !link.starts_with(base)).collect();
    assert!(relative.is_empty(), "{relative:?}");
}

#[test]
fn capabilities_are_the_measured_ones() {
    let name = "capabilities_are_the_measured_ones";
    for (set, libraries) in [("default.yaml", true), ("least.yaml", false)] {
        let path = deploy().join("chart/ci").join(set);
        let Some(output) = render(name, path.to_str().unwrap()) else { return };
        let rendered = text(&output);
        let added = rendered.lines().skip_while(|line| line.trim() != "add:").skip(1);
        let added = added.map_while(|line| line.trim().strip_prefix("- "));
        let expected = "BPF NET_ADMIN PERFMON SYS_PTRACE DAC_READ_SEARCH SETUID SETGID SETPCAP";
        let expected = expected
            .split(' ')
            .chain(libraries.then_some(["CHECKPOINT_RESTORE", "SYS_ADMIN"]).into_iter().flatten());
        assert!(added.clone().eq(expected), "{set}: {:?}", added.collect::<Vec<_>>());
    }
}

#[test]
fn wrong_values_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    for (values, expected) in [
        ("tolerationz: []", "additional properties 'tolerationz' not allowed"),
        ("http: {prot: 1}", "additional properties 'prot' not allowed"),
        ("config: {hops: {max_hop: 1}}", "additional properties 'max_hop' not allowed"),
        ("config: {hops: {max_hops: 0}}", "at '/config/hops/max_hops': minimum: got 0, want 1"),
        ("policy: {policies: [{require: mutual}]}", "at '/policy/policies/0/require'"),
        ("policy: {policies: [{upstream: x}]}", "additional properties 'upstream' not allowed"),
        ("user: nobody", "at '/user': got string, want integer"),
        ("image: {digest: latest}", "at '/image/digest'"),
        ("capabilities: {extra: [CAP_SYS_RESOURCE]}", "at '/capabilities/extra/0'"),
        ("http: {tls: {clientCaSecretName: x}}", "needs http.tls.secretName"),
        ("{priorityClassName: x, priorityClass: {create: true}}", "exclude each other"),
        ("otlp: {endpoint: 'grpc://collector:4317'}", "at '/otlp/endpoint'"),
        ("prometheusRule: {enabled: true}", "needs prometheusRule.runbookUrlPrefix"),
        ("prometheusRule: {runbookUrlPrefix: docs}", "at '/prometheusRule/runbookUrlPrefix'"),
        ("prometheusRule: {for: {CoverageLow: soon}}", "at '/prometheusRule/for/CoverageLow'"),
        (
            "prometheusRule: {enabled: true, runbookUrlPrefix: 'https://x/', for: {Covrage: 1h}}",
            "prometheusRule.for.Covrage: no alert",
        ),
    ] {
        fs::write(&file, values).unwrap();
        let Some(output) = render("wrong_values_say_what_is_wrong", file.to_str().unwrap()) else {
            return;
        };
        let words = text(&output);
        assert!(!output.status.success() && words.contains(expected), "{values}: {words}");
    }
}

#[test]
fn configuration_in_values_is_what_the_agent_reads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    let values = "config: {watch: {proxies: [nginx, 'a \"b\"'], rescan_seconds: 7}, \
                  hops: {max_hops: 1000}, http: {limits: {max_connections: 32}}, \
                  capture: {program_statistics: true}}";
    fs::write(&file, values).unwrap();
    let name = "configuration_in_values_is_what_the_agent_reads";
    let Some(output) = render(name, file.to_str().unwrap()) else { return };
    let rendered = text(&output);
    let lines = rendered.lines().skip_while(|line| line.trim() != "hopsight.toml: |").skip(1);
    let toml: String =
        lines.map_while(|line| line.strip_prefix("    ")).flat_map(|line| [line, "\n"]).collect();
    let config = Config::parse(&toml).unwrap_or_else(|error| panic!("{error:#} in {toml}"));
    assert_eq!(config.watch.proxies, ["nginx", "a \"b\""]);
    assert_eq!((config.watch.rescan_seconds, config.hops.max_hops), (7, 1000));
    assert_eq!(config.http.limits.max_connections, 32);
    assert!(config.capture.program_statistics);
}

/// The chart rendered with these values; `None` without Helm's SDK.
pub fn rendered(test: &str, values: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    fs::write(&file, values).unwrap();
    let output = render(test, file.to_str().unwrap())?;
    let rendered = text(&output);
    assert!(output.status.success(), "{values}: {rendered}");
    Some(rendered)
}

/// The object of this kind, as text.
pub fn object<'a>(rendered: &'a str, kind: &str) -> &'a str {
    let kind = format!("\nkind: {kind}\n");
    let found = rendered.split("\n---\n").find(|object| object.contains(&kind));
    found.unwrap_or_else(|| panic!("no {kind} in {rendered}"))
}

/// The DaemonSet of what is rendered with these values; `None` without the SDK.
fn daemonset(test: &str, values: &str) -> Option<String> {
    Some(object(&rendered(test, values)?, "DaemonSet").to_owned())
}

#[test]
fn an_edit_of_the_policy_makes_no_new_pods() {
    let name = "an_edit_of_the_policy_makes_no_new_pods";
    let policy = |require| format!("policy: |\n  [[policies]]\n  require = \"{require}\"\n");
    let Some(before) = daemonset(name, &policy("tls")) else { return };
    assert_eq!(daemonset(name, &policy("mtls")).unwrap(), before);
    let other = format!("{}config: {{hops: {{max_hops: 7}}}}\n", policy("tls"));
    assert_ne!(daemonset(name, &other).unwrap(), before, "the configuration is read at the start");
}

#[test]
fn the_state_stays_on_the_node() {
    let Some(found) = daemonset("the_state_stays_on_the_node", "{}") else { return };
    let (_, volume) = found.split_once("- name: state\n          hostPath:").expect(&found);
    assert!(volume.trim_start().starts_with("path: /var/lib/hopsight"), "{found}");
    assert!(found.contains("--state=/var/lib/hopsight"), "{found}");
}

#[test]
fn plain_manifests_are_those_of_the_chart() {
    let path = deploy().join("chart/ci/default.yaml");
    let name = "plain_manifests_are_those_of_the_chart";
    let Some(output) = render(name, path.to_str().unwrap()) else { return };
    let rendered = text(&output);
    assert!(output.status.success(), "{rendered}");
    // `helm test` takes Helm. Templates are sorted, so its come last.
    let tests = "---\n# hopsight/templates/tests/";
    let (rendered, _) = rendered.split_once(tests).expect("a test");
    let manifests = format!(
        "# Rendered from ../chart with its default values; `cargo xtask bless` writes it again.\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: hopsight\n  labels:\n\
         \x20   # hostPID, hostPath and the capabilities are what Pod Security calls privileged.\n\
         \x20   pod-security.kubernetes.io/enforce: privileged\n{rendered}"
    )
    // There is no Helm that manages them.
    .replace("    app.kubernetes.io/managed-by: Helm\n", "")
    .replace("    helm.sh/chart: hopsight-0.1.0\n", "");
    golden::file(&deploy().join("manifests/hopsight.yaml"), &manifests).unwrap();
}

#[test]
fn rules_and_dashboards_in_the_chart_are_those_of_the_repository() {
    let files = deploy().join("chart/files");
    let dashboards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
    let mut shared: Vec<_> = fs::read_dir(&dashboards)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json" || end == "yaml"))
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    shared.sort();
    assert!(shared.len() >= 5, "{shared:?}");
    for name in shared {
        let link = files.join(&name);
        let (here, there) = (fs::canonicalize(&link), fs::canonicalize(dashboards.join(&name)));
        assert_eq!(here.unwrap_or_default(), there.unwrap(), "{} is a link", link.display());
    }
}
