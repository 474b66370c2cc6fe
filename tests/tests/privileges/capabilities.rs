//! Which capability is for what: the agent runs with all it documents, and with one less at a time.
//!
//! The table is that of `agent/deploy/README.md` and of `agent/RELIABILITY.md`, and the capabilities
//! are those of the chart.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use hopsight_core::model::{Evidence, Security};
use hopsight_tests::{
    agent::{Agent, is_address},
    case, golden, process, requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use serde_json::Value;

/// What the agent documents without probes in user space, in the chart's words.
const LEAST: &[&str] = &[
    "BPF",
    "NET_ADMIN",
    "PERFMON",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "SETUID",
    "SETGID",
    "SETPCAP",
];
/// What probes in user space take besides.
const FOR_LIBRARIES: [&str; 2] = ["CHECKPOINT_RESTORE", "SYS_ADMIN"];
/// The kernel the table was made on; others may want more or less.
const KERNEL: &str = "6.18.";

/// How long what the agent looks for by itself may take.
const SOON: Duration = Duration::from_secs(3);

/// What one agent could do.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
struct Outcome {
    /// Why it did not start.
    refused: Option<String>,
    new_connections: bool,
    library: bool,
    older_connections: bool,
    nginx_configuration: bool,
    bounding_set: bool,
}

#[test]
fn every_capability_is_for_something() {
    let name = "every_capability_is_for_something";
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let mut cases = case::named(&["http", "mtls13"]);
    cases.push(case::KEEPALIVE[0]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    // The proxy's configuration is root's alone, as on hardened hosts.
    process::run("chmod", ["-R", "go=", topology.dir().to_str().unwrap()]).unwrap();
    // This one is older than every agent.
    topology.hop("http-keepalive").unwrap().request().unwrap();

    let with_libraries = [LEAST, &FOR_LIBRARIES].concat();
    let mut table = String::from(
        "| run with | starts | new connections | TLS library | older connections | nginx configuration | bounding set emptied |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut run = |label: &str, all: &[&str], dropped: &[&str], library: bool| {
        let kept: Vec<_> = all.iter().filter(|name| !dropped.contains(name)).copied().collect();
        let outcome = observe(&topology, label, &kept, library).unwrap();
        table += &row(label, &outcome, library);
        outcome
    };
    let everything = run("all of them", &with_libraries, &[], true);
    assert!(everything.refused.is_none() && everything.library && everything.nginx_configuration);
    for dropped in
        ["CHECKPOINT_RESTORE", "SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "BPF", "PERFMON"]
    {
        run(&format!("all but {dropped}"), &with_libraries, &[dropped], true);
    }
    let least = run("`--library off`: all but SYS_ADMIN", LEAST, &[], false);
    let works = least.refused.is_none() && least.new_connections && least.older_connections;
    assert!(works, "{table}");
    for dropped in LEAST {
        run(&format!("`--library off`: SYS_ADMIN and {dropped} dropped"), LEAST, &[dropped], false);
    }
    println!("{table}");

    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if release.starts_with(KERNEL) {
        for page in ["deploy/README.md", "RELIABILITY.md"] {
            let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent").join(page);
            golden::section(&page, "capabilities", &table).unwrap();
        }
    } else {
        println!("the page has the table of Linux {KERNEL}x, this is {release}");
    }
}

fn row(label: &str, outcome: &Outcome, library: bool) -> String {
    if let Some(refused) = &outcome.refused {
        return format!("| {label} | no: {refused} | | | | | |\n");
    }
    let word = |works: bool| if works { "yes" } else { "**no**" };
    format!(
        "| {label} | yes | {} | {} | {} | {} | {} |\n",
        word(outcome.new_connections),
        if library { word(outcome.library) } else { "off" },
        word(outcome.older_connections),
        word(outcome.nginx_configuration),
        word(outcome.bounding_set),
    )
}

/// Runs an agent with these capabilities and no others, and sends it what it should see.
fn observe(
    topology: &Topology,
    label: &str,
    capabilities: &[&str],
    library: bool,
) -> anyhow::Result<Outcome> {
    let names: Vec<_> =
        capabilities.iter().map(|name| format!("+{}", name.to_lowercase())).collect();
    let bounding = format!("--bounding-set=-all,{}", names.join(","));
    let launcher = ["setpriv", &bounding, "--inh-caps=-all", "--"];
    let directory: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
    let directory = topology.dir().join(directory);
    let mut options = vec!["--user", "65532"];
    options.extend(topology.cgroup().options()?);
    if !library {
        options.extend(["--library", "off"]);
    }
    let address = topology.spare_address();
    let Ok(agent) = Agent::start_through(&launcher, &directory, address, &options) else {
        let log = fs::read_to_string(directory.join("agent.log")).context("read the log")?;
        return Ok(Outcome { refused: Some(refusal(&log)), ..Outcome::default() });
    };
    if library {
        // Without what it takes it looks into nothing: that is one of the outcomes.
        let _ = agent.wait_looked_into();
    }
    let mut evidence = Vec::new();
    for name in ["http", "mtls13"] {
        let hop = topology.hop(name)?;
        hop.request()?;
        let reports = agent.wait_finals(hop.dial, 1)?;
        evidence.push(reports[0].verdict);
    }
    let older = topology.hop("http-keepalive")?;
    older.request()?;
    let older_connections = wait_until("the older connection", SOON, || {
        let reports = agent.reports()?;
        Ok(reports.iter().any(|report| is_address(&report.dst, older.dial)).then_some(()))
    });
    let master = topology.nginx.as_ref().context("find nginx")?.daemon.pid();
    let unread = wait_until("a complaint about nginx's configuration", SOON, || {
        let components: Value = serde_json::from_str(&agent.get("/readyz")?.body)?;
        let detail = components["components"]["nginx_configuration"]["detail"].as_str();
        Ok(detail.is_some_and(|detail| detail.contains(&format!("master {master})"))).then_some(()))
    });
    let components: Value = serde_json::from_str(&agent.get("/readyz")?.body)?;
    let detail = |name: &str| components["components"][name]["detail"].as_str().unwrap_or("");
    let seen = detail("nginx_configuration") != "no nginx seen yet";
    Ok(Outcome {
        refused: None,
        new_connections: evidence[0].security == Security::Plaintext,
        library: evidence[1].evidence == Evidence::Library,
        older_connections: older_connections.is_ok(),
        nginx_configuration: seen && unread.is_err(),
        bounding_set: detail("privileges").contains("bounding set empty"),
    })
}

/// The last words of an agent that did not start, as short as a table wants them.
fn refusal(log: &str) -> String {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("hopsight: "));
    let line = line.unwrap_or("it said nothing").split(['(', ';']).next().unwrap_or_default();
    // Which one is tried first differs from run to run.
    let line =
        line.split_once(" create map ").map_or(line, |_| "the kernel refused to create maps");
    line.trim().to_owned()
}
