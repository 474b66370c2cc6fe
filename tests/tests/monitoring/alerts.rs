//! From a hop in the clear to somebody's pager, and back once it is remedied.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    loopback::Loopback,
    monitoring::{self, Alertmanager, Config, Prometheus},
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    receiver::Receiver,
    requirement,
    wait::wait_until,
};
use serde_json::Value;

/// How long a change may take to reach the webhook: two scrapes, an evaluation, a notification,
/// which Prometheus sends again after a minute where it was lost.
const REACHED: Duration = Duration::from_mins(3);

/// A proxy and its upstream, both in the clear or both with TLS.
struct Scene {
    front: SocketAddr,
    upstream: SocketAddr,
    proxy: Nginx,
    server: Nginx,
    cgroup: Cgroup,
    pki: Pki,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start(block: Loopback) -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8080));
        let (proxy, server) = Self::configs(front, upstream, None);
        let server = Nginx::start(&dir.path().join("upstream"), &server, &Place::here(), upstream);
        let server = server.unwrap();
        let cgroup = Cgroup::create().unwrap();
        let place = &cgroup.place();
        let proxy = Nginx::start(&dir.path().join("proxy"), &proxy, place, front).unwrap();
        Self { front, upstream, proxy, server, cgroup, pki, dir }
    }

    fn configs(
        front: SocketAddr,
        upstream: SocketAddr,
        tls: Option<&Pki>,
    ) -> (nginx::Config, nginx::Config) {
        let (scheme, listen) = match tls {
            None => ("http", String::new()),
            Some(pki) => (
                "https",
                format!(
                    " ssl; ssl_certificate {}; ssl_certificate_key {}",
                    utf8(&pki.server.chain).unwrap(),
                    utf8(&pki.server.key).unwrap()
                ),
            ),
        };
        let proxy = format!(
            "server {{ listen {front}; location / {{ proxy_pass {scheme}://{upstream}; }} }}\n"
        );
        let server =
            format!("server {{ listen {upstream}{listen}; location / {{ return 200 \"x\"; }} }}\n");
        let config = |http| nginx::Config { http, ..nginx::Config::default() };
        (config(proxy), config(server))
    }

    /// What an operator does about the alert.
    fn mend(&self) {
        let (proxy, server) = Self::configs(self.front, self.upstream, Some(&self.pki));
        for (name, config, nginx) in
            [("upstream", server, &self.server), ("proxy", proxy, &self.proxy)]
        {
            Nginx::write(&self.dir.path().join(name), &config).unwrap();
            nginx.reload().unwrap();
        }
    }

    fn request(&self) -> anyhow::Result<u16> {
        Ok(hopsight_tests::http::get(self.front, "/")?.status)
    }
}

/// Whether the webhook was told this `status` of an alert that has these labels.
fn was_told(webhook: &Receiver, status: &str, labels: &[(&str, &str)]) -> Option<Value> {
    let messages = webhook
        .posts()
        .into_iter()
        .map(|post| serde_json::from_slice::<Value>(&post.body).expect("Alertmanager posts JSON"));
    let alerts = messages.flat_map(|mut message| match message["alerts"].take() {
        Value::Array(alerts) => alerts,
        other => panic!("alerts are {other}"),
    });
    alerts.into_iter().find(|alert| {
        alert["status"] == status
            && labels.iter().all(|(name, value)| alert["labels"][name] == *value)
    })
}

#[test]
fn a_plaintext_hop_is_told_and_its_end_too() {
    let name = "a_plaintext_hop_is_told_and_its_end_too";
    let programs: Vec<_> = ["nginx"].into_iter().chain(monitoring::PROGRAMS).collect();
    if !requirement::met(name, &programs) {
        return;
    }
    let block = Loopback::reserve().unwrap();
    let scene = Scene::start(block);
    let dir = scene.dir.path();
    let webhook = Receiver::start().unwrap();
    let hook = format!("http://{}/", webhook.address);
    // First Alertmanager: what it is not there for is sent again only after a minute.
    let alertmanager =
        Alertmanager::start(&dir.join("alertmanager"), block.socket(2, 9093), Some(&hook)).unwrap();
    // The built-in policy allows loopback.
    let policy = dir.join("policy.toml");
    let tls = "[[policies]]\nmatch.cidr = [\"127.0.0.0/8\"]\nrequire = \"tls\"\n";
    fs::write(&policy, tls).unwrap();
    let [cgroup, path] = scene.cgroup.options().unwrap();
    let own = [cgroup, path, "--policy", utf8(&policy).unwrap()];
    let mut agent = Agent::start(&dir.join("agent"), block.socket(2, 9464), &own).unwrap();
    let config = Config {
        interval: Duration::from_secs(1),
        scrapes: Config::agents(&[agent.http]),
        rules: monitoring::hastened_rules(dir).unwrap(),
        alertmanager: Some(alertmanager.address),
    };
    let prometheus =
        Prometheus::start(&dir.join("prometheus"), block.socket(2, 9090), &config).unwrap();
    let instance = agent.http.to_string();
    let upstream = scene.upstream.to_string();
    let hop = [
        ("alertname", "PlaintextUpstreamHop"),
        ("severity", "critical"),
        ("proxy", "nginx"),
        ("upstream", &upstream),
    ];
    // Requests go on: right after a reload workers of before still answer some.
    let told = |status, labels: &[_]| {
        wait_until(&format!("{labels:?} to be {status}"), REACHED, || {
            scene.request()?;
            Ok(was_told(&webhook, status, labels))
        })
        .unwrap_or_else(|error| {
            let (alerts, log) = (prometheus.alerts(), prometheus.daemon.log());
            let reports = agent.reports().unwrap_or_default();
            let reports: Vec<_> = reports.iter().filter(|r| *r.dst == *upstream).collect();
            panic!(
                "{error:#}\nPrometheus has {alerts:?}\n{log}\nthe agent wrote {reports:#?}\n{}",
                agent.daemon.log()
            );
        })
    };

    let begun = Instant::now();
    assert_eq!(scene.request().unwrap(), 200);
    let alert = told("firing", &hop);
    println!("told of the plaintext hop after {:.1} s", begun.elapsed().as_secs_f64());
    let summary = &alert["annotations"]["summary"];
    assert_eq!(*summary, format!("nginx speaks plaintext to {upstream} (nodes: 1)"));
    let description = alert["annotations"]["description"].as_str().unwrap();
    assert!(description.ends_with(&format!("such as {instance}.")), "{description}");
    let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
    assert!(monitoring::dashboards().parent().unwrap().join(runbook).exists(), "{runbook}");
    let held = alertmanager.alerts().unwrap();
    let is_it = |labels: &monitoring::Labels| {
        hop.iter().all(|(name, value)| labels.get(*name).map(String::as_str) == Some(value))
    };
    assert!(held.iter().any(is_it), "{held:#?}");

    let begun = Instant::now();
    scene.mend();
    told("resolved", &hop);
    println!("told of its end after {:.1} s", begun.elapsed().as_secs_f64());
    // TLS, but the proxy does not look at the certificate: the next thing to mend.
    let unverified = [("alertname", "UpstreamNotVerified"), ("upstream", &*upstream)];
    told("firing", &unverified);

    agent.daemon.terminate().unwrap();
    let blind = [("alertname", "AgentBlind"), ("cause", "agent_down"), ("instance", &*instance)];
    wait_until("the silent agent to be told", REACHED, || Ok(was_told(&webhook, "firing", &blind)))
        .unwrap();
}
