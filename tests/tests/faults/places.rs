//! cgroups and network namespaces that come and go.

use std::{fs, time::Duration};

use hopsight_tests::{
    agent::Agent,
    case,
    cgroup::Cgroup,
    loopback::Loopback,
    netns::NetNs,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};

#[test]
fn cgroups_below_come_and_go() {
    let test = "cgroups_below_come_and_go";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http", "mtls12"]), Network::Ipv4).unwrap();
    let proxy = topology.nginx.as_ref().unwrap().daemon.pid();
    // The worker that answers is there, and moves with its master.
    topology.hops[0].request_once().unwrap();
    let watched = Cgroup::create().unwrap();
    let own = watched.options().unwrap();
    let args = [&own[..], &["--no-library"]].concat();
    let agent = Agent::start(&topology.dir().join("agent"), topology.spare_address(), &args);
    let agent = agent.unwrap();
    let mut expected = 0;
    for round in 0..3 {
        let below = watched.child(&format!("pod-{round}")).unwrap();
        below.adopt(proxy).unwrap();
        expected += 1;
        for hop in &topology.hops {
            hop.request_once().unwrap();
            let reports = agent.wait_finals(hop.dial, expected).unwrap();
            assert_eq!(reports.len(), expected);
            let last = &reports[expected - 1];
            assert_eq!(last.verdict.security, hop.case.expected.security, "{last:#?}");
        }
        // Dropping it moves the proxy to the root, which is not watched.
    }
    for hop in &topology.hops {
        hop.request_once().unwrap();
        assert_eq!(agent.finals(hop.dial).unwrap().len(), expected, "outside of what is watched");
    }
}

#[test]
fn the_end_of_the_watched_cgroup_is_said() {
    let test = "the_end_of_the_watched_cgroup_is_said";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let watched = Cgroup::create().unwrap();
    let own = watched.options().unwrap();
    let args = [&own[..], &["--no-library"]].concat();
    let mut agent =
        Agent::start(&topology.dir().join("agent"), topology.spare_address(), &args).unwrap();
    let path = watched.path().to_owned();
    fs::remove_dir(&path).unwrap();
    // The kernel has detached the programs; an agent that stays green now is a silent gap.
    wait_until("the agent to be no longer ready", Duration::from_secs(30), || {
        let answer = agent.get("/readyz")?;
        Ok((answer.status == 503 && answer.body.contains("removed")).then_some(()))
    })
    .unwrap();
    wait_until("its probe to be counted no more", Duration::from_secs(30), || {
        let attached = agent.metric("hopsight_probes_attached", &["probe=\"egress\""])?;
        Ok((attached == Some(0.0)).then_some(()))
    })
    .unwrap();
    // Another one of the same name is not the one that was watched.
    fs::create_dir(&path).unwrap();
    topology.hops[0].request().unwrap();
    // The point: nothing changes while the agent looks again, which it does every second.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(agent.get("/readyz").unwrap().status, 503);
    agent.daemon.ensure_running().unwrap();
}

#[test]
fn a_network_namespace_goes_with_its_connections() {
    let test = "a_network_namespace_goes_with_its_connections";
    if !requirement::met(test, &["nginx", "ip"]) {
        return;
    }
    let block = Loopback::reserve().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let watched = Cgroup::create().unwrap();
    let own = watched.options().unwrap();
    let args = [&own[..], &["--no-library"]].concat();
    let mut agent = Agent::start(dir.path(), block.socket(1, 9464), &args).unwrap();
    for _ in 0..3 {
        let netns = NetNs::create().unwrap();
        let mut cases = case::named(&["http", "mtls12"]);
        cases.extend(case::KEEPALIVE);
        let topology = Topology::start(&cases, Network::Namespace(&netns)).unwrap();
        topology.hops[0].request_once().unwrap();
        watched.adopt(topology.nginx.as_ref().unwrap().daemon.pid()).unwrap();
        for hop in &topology.hops {
            hop.request_once().unwrap();
        }
        // The upstream and with it the namespace's last process go while connections are open.
        let dials: Vec<_> =
            topology.hops.iter().map(|hop| (hop.dial, hop.case.expected.security)).collect();
        drop(topology);
        drop(netns);
        for (dial, security) in dials {
            let reports = agent.wait_finals(dial, 1).unwrap();
            assert_eq!(reports.last().unwrap().verdict.security, security, "{reports:#?}");
        }
        agent.daemon.ensure_running().unwrap();
    }
}
