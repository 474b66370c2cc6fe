//! Intended against observed, while a configuration changes under load.

use std::{fs, net::SocketAddr, path::PathBuf, thread, time::Duration};

use hopsight::policy::drift::Compliance;
use hopsight_tests::{
    agent::Agent,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

/// How long a change may take to be seen, reload included.
const CHANGE: Duration = Duration::from_secs(15);
/// The violations a change of configuration here leads to.
const MISSING: &str = "client_certificate_missing";
const PLAINTEXT: &str = "plaintext";

/// A proxy with one named upstream that asks for certificates and takes connections without.
struct Scene {
    proxy: Nginx,
    front: SocketAddr,
    upstream: SocketAddr,
    http: SocketAddr,
    proxy_dir: PathBuf,
    pki: Pki,
    _upstream: Nginx,
    dir: tempfile::TempDir,
}

/// How the proxy speaks to it.
#[derive(Clone, Copy)]
enum Flip {
    Mutual,
    OneWay,
    Plaintext,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8443));
        let server = format!(
            "server {{ listen {upstream} ssl; ssl_protocols TLSv1.2; ssl_certificate {}; \
             ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client optional; \
             ssl_verify_depth 3; location / {{ return 200 \"x\"; }} }}\n",
            utf8(&pki.server.chain).unwrap(),
            utf8(&pki.server.key).unwrap(),
            utf8(&pki.root).unwrap(),
        );
        let config = nginx::Config { http: server, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, None, upstream).unwrap();
        let proxy_dir = dir.path().join("proxy");
        let config = proxy_config(Flip::Mutual, front, upstream, &pki);
        let proxy = Nginx::start(&proxy_dir, &config, None, front).unwrap();
        let http = block.socket(2, 9464);
        Self { proxy, front, upstream, http, proxy_dir, pki, _upstream: other, dir }
    }

    fn agent(&self) -> Agent {
        let policy = self.dir.path().join("policy.toml");
        let text = "[[policies]]\nname = \"payments\"\nmatch.upstream = \"payments\"\nrequire = \"mtls\"\n";
        fs::write(&policy, text).unwrap();
        let state = self.dir.path().join("state");
        let options = ["--policy", utf8(&policy).unwrap(), "--state", utf8(&state).unwrap()];
        Agent::start(&self.dir.path().join("agent"), self.http, &options).unwrap()
    }

    fn write(&self, flip: Flip) {
        let config = proxy_config(flip, self.front, self.upstream, &self.pki);
        Nginx::write(&self.proxy_dir, &config).unwrap();
    }

    /// The value of a series of this hop.
    fn value(&self, agent: &Agent, name: &str, rule: &str) -> Option<f64> {
        let upstream = format!("upstream=\"{}\"", self.upstream);
        let rule = format!("rule=\"{rule}\"");
        agent.metric(&format!("{name}{{"), &["proxy=\"nginx\"", &upstream, &rule]).unwrap()
    }

    fn wait_violation(&self, agent: &Agent, rule: &str, value: f64) {
        let what = format!("hopsight_policy_violation of {rule} to be {value}");
        wait_until(&what, CHANGE, || {
            let now = self.value(agent, "hopsight_policy_violation", rule);
            Ok((now == Some(value)).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()));
    }

    fn wait_name(&self, agent: &Agent) {
        let address = self.upstream.to_string();
        wait_until("the hop to be named and compliant", CHANGE, || {
            let hops = agent.hops()?.hops;
            let hop = hops.iter().find(|hop| *hop.upstream == *address);
            Ok(hop
                .filter(|hop| hop.context.name.as_deref() == Some("payments"))
                .and_then(|hop| hop.context.compliance.clone())
                .filter(|compliance| compliance.status == Compliance::Compliant))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()));
    }
}

fn proxy_config(flip: Flip, front: SocketAddr, upstream: SocketAddr, pki: &Pki) -> nginx::Config {
    let pass = match flip {
        Flip::Mutual => format!(
            "proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; proxy_pass https://payments;",
            utf8(&pki.client.chain).unwrap(),
            utf8(&pki.client.key).unwrap()
        ),
        Flip::OneWay => "proxy_pass https://payments;".to_owned(),
        Flip::Plaintext => "proxy_pass http://payments;".to_owned(),
    };
    let http = format!(
        "upstream payments {{ server {upstream}; }}\n\
         server {{ listen {front}; location / {{ proxy_ssl_session_reuse off; {pass} }} }}\n"
    );
    nginx::Config { http, ..nginx::Config::default() }
}

/// The opening of a drift of our hop; other tests have proxies of their own on this machine.
fn opened<'a>(events: &'a [Value], rule: &str, upstream: SocketAddr) -> Option<&'a Value> {
    let upstream = upstream.to_string();
    events.iter().find(|event| {
        event["event"] == "drift_opened" && event["rule"] == rule && event["upstream"] == *upstream
    })
}

/// A time of day in an RFC 3339 text, in seconds.
fn seconds(time: &Value) -> f64 {
    let text = time.as_str().unwrap();
    let of_day = text.split_once('T').unwrap().1.trim_end_matches('Z');
    of_day.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

#[test]
fn a_change_of_configuration_is_drift_until_it_is_mended() {
    let name = "a_change_of_configuration_is_drift_until_it_is_mended";
    if !requirement::met(name, &["nginx", "wrk"]) {
        return;
    }
    let scene = Scene::start();
    let mut agent = scene.agent();
    let url = format!("http://{}/", scene.front);
    let log = scene.dir.path().join("wrk.log");
    let _load = Daemon::spawn("wrk", ["-t1", "-c4", "-d120s", &url], &log).unwrap();
    scene.wait_name(&agent);
    let intent = ["name=\"payments\"", "scheme=\"tls\"", "client_certificate=\"yes\""];
    assert_eq!(agent.metric("hopsight_intent_info{", &intent).unwrap(), Some(1.0));

    scene.write(Flip::OneWay);
    let pending = || agent.metric("hopsight_proxy_config_pending_reload{", &["nginx"]);
    wait_until("the change to be pending", CHANGE, || Ok(pending()?.filter(|&is| is > 0.5)))
        .unwrap();
    assert_eq!(scene.value(&agent, "hopsight_policy_violation", MISSING), None);
    scene.proxy.reload().unwrap();
    scene.wait_violation(&agent, MISSING, 1.0);
    wait_until("nothing to be pending", CHANGE, || Ok(pending()?.filter(|&is| is == 0.0))).unwrap();

    scene.write(Flip::Plaintext);
    scene.proxy.reload().unwrap();
    scene.wait_violation(&agent, PLAINTEXT, 1.0);
    for rule in [MISSING, PLAINTEXT] {
        let event = wait_until("the event", CHANGE, || {
            Ok(opened(&agent.drifts(), rule, scene.upstream).cloned())
        });
        let event = event.unwrap();
        assert_eq!(event["name"], "payments", "{event}");
        assert_eq!(event["upstream"], scene.upstream.to_string(), "{event}");
        let took = seconds(&event["detected_at"]) - seconds(&event["since"]);
        // How long it takes is printed, not asserted: this machine may be busy.
        assert!(took >= 0.0, "{took} s: {event}");
        assert!(event["changed_at"].is_string(), "the reload is its cause: {event}");
        println!(
            "{rule}: {took:.3} s from the connection, {} s in all",
            event["detection_seconds"]
        );
    }

    // Killed, so that nothing can be saved at the end.
    thread::sleep(Duration::from_secs(2));
    let age = scene.value(&agent, "hopsight_drift_open_seconds", MISSING).unwrap();
    agent.daemon.signal(Signal::KILL).unwrap();
    agent.daemon.wait_exit(Duration::from_secs(5)).unwrap();
    let agent = scene.agent();
    let age_again = scene.value(&agent, "hopsight_drift_open_seconds", MISSING).unwrap();
    assert!(age_again >= age, "{age_again} s after the restart, {age} s before");
    let count = |what: &str| {
        agent.metric(&format!("hopsight_drift_{what}_seconds_count"), &[]).unwrap().unwrap()
    };
    assert!(count("detection") >= 2.0);
    assert!(count("remediation") < 1.0);

    scene.write(Flip::Mutual);
    scene.proxy.reload().unwrap();
    for rule in [MISSING, PLAINTEXT] {
        scene.wait_violation(&agent, rule, 0.0);
    }
    assert!(count("remediation") >= 2.0);
    scene.wait_name(&agent);

    fs::write(scene.proxy_dir.join("nginx.conf"), "http {\n oops\n}\n").unwrap();
    wait_until("the broken file to be told", CHANGE, || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 200, "{}", ready.body);
        let json: Value = serde_json::from_str(&ready.body)?;
        let component = &json["components"]["nginx_configuration"];
        let detail = component["detail"].as_str().unwrap_or_default();
        Ok((component["state"] == "degraded" && detail.contains("nginx.conf:3")).then_some(()))
    })
    .unwrap();
    scene.wait_name(&agent);
}
