//! TLS stacks that no library probe looks into, each as client and as server of each: what the
//! wire shows of them, and what the lengths of their encrypted records do.

use hopsight_core::model::{
    ClientAuth::{self, NotRequested, Presented, RequestedNotPresented},
    Evidence,
    Outcome::{self, Established, Rejected},
    Security,
};
use hopsight_tests::{
    agent::Agent,
    case::{Asks, Version},
    cgroup::Cgroup,
    loopback::{self, Loopback},
    requirement,
    stack::{Keys, PROGRAMS, Stack},
};

/// What both sides do, and what is to be said of it.
#[derive(Clone, Copy)]
struct Situation {
    asks: Asks,
    presents: bool,
    client_auth: ClientAuth,
    /// The connection itself shows it: the request is answered or not.
    outcome: Outcome,
}

const SITUATIONS: [Situation; 4] = {
    let nothing = Situation {
        asks: Asks::Nothing,
        presents: true,
        client_auth: NotRequested,
        outcome: Established,
    };
    let optional = Situation {
        asks: Asks::Optional,
        presents: false,
        client_auth: RequestedNotPresented,
        outcome: Established,
    };
    let required = Situation { asks: Asks::Required, outcome: Rejected, ..optional };
    let presented = Situation {
        asks: Asks::Required,
        presents: true,
        client_auth: Presented,
        outcome: Established,
    };
    [nothing, optional, required, presented]
};

struct Scene {
    dir: tempfile::TempDir,
    keys: Keys,
    block: Loopback,
    cgroup: Cgroup,
    agent: Agent,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::create(dir.path()).unwrap();
        let cgroup = Cgroup::create().unwrap();
        let mut options = vec!["--library", "off"];
        options.extend(cgroup.options().unwrap());
        options.extend(Stack::ALL.iter().flat_map(|stack| ["--proxy", stack.client()]));
        let block = Loopback::reserve().unwrap();
        let agent =
            Agent::start(&dir.path().join("agent"), block.socket(1, 9464), &options).unwrap();
        Self { dir, keys, block, cgroup, agent }
    }

    /// Makes the connection, on an address that no other one has; what is wrong about what the
    /// agent says of it.
    fn judge(
        &self,
        host: u8,
        [client, server]: [Stack; 2],
        version: Version,
        situation: Situation,
    ) -> Option<String> {
        let Situation { asks, presents, client_auth, outcome } = situation;
        let name = format!("{client:?} to {server:?}, {version:?}, {asks:?}, {presents}");
        let address = self.block.socket(host, loopback::port_everywhere().unwrap());
        let log = |end: &str| self.dir.path().join(format!("{host}.{end}"));
        let daemon = server.serve(&self.keys, version, asks, address, &log("server")).unwrap();
        let place = &self.cgroup.place();
        let answered =
            client.request(&self.keys, presents, place, address, &log("client")).unwrap();
        assert_eq!(answered, outcome == Established, "{name}:\n{}", daemon.log());

        let reports = self.agent.wait_finals(address, 1).unwrap();
        let said: Vec<_> = reports.iter().map(|report| report.verdict).collect();
        let security = if client_auth == Presented { Security::Mtls } else { Security::Tls };
        let evidence = match version {
            Version::V12 => Evidence::Wire,
            Version::V13 => Evidence::Inferred,
        };
        let right = (security, client_auth, outcome, evidence);
        let is_right = matches!(said.as_slice(), [verdict]
            if (verdict.security, verdict.client_auth, verdict.outcome, verdict.evidence) == right);
        (!is_right).then(|| format!("{name}: {said:?} instead of {right:?}"))
    }
}

#[test]
fn every_pair_of_stacks_is_read_from_the_wire() {
    if !requirement::met("every_pair_of_stacks_is_read_from_the_wire", PROGRAMS) {
        return;
    }
    let scene = Scene::start();
    let pairs = Stack::ALL.iter().flat_map(|client| Stack::ALL.map(|server| [*client, server]));
    let with_versions = pairs.flat_map(|pair| [(pair, Version::V12), (pair, Version::V13)]);
    let all = with_versions.flat_map(|(pair, version)| SITUATIONS.map(|s| (pair, version, s)));
    let wrong: Vec<_> = (2..)
        .zip(all)
        .filter_map(|(host, (pair, version, situation))| {
            scene.judge(host, pair, version, situation)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
