//! What it changes when somebody sets the clock: nothing.

use std::{collections::BTreeMap, env, fs, thread, time::Duration};

use hopsight_core::model::Security;
use hopsight_tests::{
    agent::Agent,
    case,
    topology::{Network, Topology},
};
use rustix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::Value;

/// Beats of the agent, in each of which it looks at the ages of what it keeps.
const BEATS: Duration = Duration::from_secs(3);
const DAY: i64 = 86_400;

fn set_clock(seconds: i64) {
    let mut time = clock_gettime(ClockId::Realtime);
    time.tv_sec += seconds;
    clock_settime(ClockId::Realtime, time).unwrap();
}

/// Hops expire after an hour here, a drift is forgotten as by default.
#[test]
#[ignore = "sets the machine's clock: `cargo xtask vm` runs it in a machine of its own"]
fn a_set_clock_changes_nothing() {
    assert!(env::var_os("HOPSIGHT_VM").is_some(), "use `cargo xtask vm`: this sets the clock");
    let cases = case::named(&["http", "tls12", "mtls12"]);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let config = topology.dir().join("hopsight.toml");
    fs::write(&config, "[hops]\nexpiry_seconds = 3600\ntreatment_seconds = 3600\n").unwrap();
    let policy = topology.dir().join("policy.toml");
    fs::write(&policy, "[[policies]]\nrequire = \"tls\"\n").unwrap();
    let (config, policy) = (config.to_str().unwrap(), policy.to_str().unwrap());
    let options = ["--config", config, "--policy", policy];
    let agent = Agent::watching(&topology, "agent", &options).unwrap();
    let shown = || -> BTreeMap<String, Security> {
        let hops = agent.hops().unwrap().hops;
        hops.iter().map(|hop| (hop.upstream.to_string(), hop.state.security)).collect()
    };
    let drifts = || -> Vec<String> {
        let word = |drift: &Value, key: &str| drift[key].as_str().unwrap_or_default().to_owned();
        let words = |drift: &Value| ["event", "rule", "upstream"].map(|key| word(drift, key));
        agent.drifts().iter().map(|drift| words(drift).join(" ")).collect()
    };
    let (mut before, mut known) = (BTreeMap::new(), Vec::new());
    for (round, (name, step)) in
        [("not set", 0), ("forward", DAY), ("back", -2 * DAY), ("right again", DAY)]
            .into_iter()
            .enumerate()
    {
        set_clock(step);
        // The point, here and below: it looks at the ages of what it keeps, and nothing changes.
        thread::sleep(BEATS);
        assert_eq!(shown(), before, "{name}: what is known stays");
        for hop in &topology.hops {
            hop.request().unwrap();
            let reports = agent.wait_finals(hop.dial, (round + 1) * hop.case.requests).unwrap();
            let verdict = reports.last().unwrap().verdict;
            assert_eq!(verdict.security, hop.case.expected.security, "{name}: {reports:#?}");
            assert_eq!(verdict.outcome, hop.case.expected.outcome, "{name}: {reports:#?}");
        }
        before = shown();
        assert_eq!(before.len(), topology.hops.len(), "{name}: {before:?}");
        thread::sleep(BEATS);
        let told = drifts();
        assert!(told.iter().any(|drift| drift.starts_with("drift_opened plaintext")), "{told:?}");
        assert!(!told.iter().any(|drift| drift.starts_with("drift_closed")), "{name}: {told:?}");
        assert!(round == 0 || told == known, "{name}: {told:?}, before {known:?}");
        known = told;
        let age = agent.metric("hopsight_drift_open_seconds", &[]).unwrap().unwrap();
        assert!((0.0..3600.0).contains(&age), "{name}: {age}");
        assert_eq!(agent.get("/readyz").unwrap().status, 200, "{name}");
    }
    assert_eq!(agent.metric("hopsight_hops_expired_total", &[]).unwrap(), Some(0.0));
}
