//! Apache's files are read.

use std::{fs, path::Path};

use hopsight_tests::{nginx::utf8, pki::Pki, process::Daemon, requirement, wait::wait_until};
use rustix::process::Signal;

use super::{CHANGE, REMOVED, Scene, UPSTREAM, blamed, is_mutual_by_intent, line_of, write};

/// Modules it needs; Debian has each in a file of its own.
const MODULES: [&str; 9] = [
    "mpm_event",
    "authz_core",
    "slotmem_shm",
    "socache_shmcb",
    "ssl",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_byrequests",
];

/// The certificate with its key alone, and what issued it: of several certificates in one file Apache
/// takes each for one of its own.
pub(crate) fn certificates(dir: &Path, pki: &Pki) -> [String; 2] {
    const END: &str = "-----END CERTIFICATE-----\n";
    let identity = &pki.client;
    let chain = fs::read_to_string(&identity.chain).unwrap().replace('\r', "");
    let key = fs::read_to_string(&identity.key).unwrap();
    let (own, issuer) = chain.split_at(chain.find(END).unwrap() + END.len());
    [("own.pem", format!("{own}{key}")), ("issuer.pem", issuer.to_owned())].map(|(name, text)| {
        let path = dir.join(name);
        write(&path, &text);
        utf8(&path).unwrap().to_owned()
    })
}

/// What every configuration in this directory begins with.
pub(crate) fn beginning(dir: &Path) -> String {
    let dir = utf8(dir).unwrap();
    let mut text = format!(
        "ServerRoot {dir}\nServerName proxy.test\nPidFile {dir}/apache.pid\n\
         DefaultRuntimeDir {dir}\nErrorLog {dir}/apache.log\nUser www-data\nGroup www-data\n\
         GracefulShutdownTimeout 1\nStartServers 1\nMinSpareThreads 1\n"
    );
    for name in MODULES {
        text += &format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    }
    text
}

/// Its configuration, with or without a client certificate.
fn configuration(scene: &Scene, is_mutual: bool) -> String {
    let text = beginning(scene.dir.path());
    let [own, issuer] = certificates(scene.dir.path(), &scene.pki);
    let certificate = if is_mutual {
        format!(
            "SSLProxyMachineCertificateFile {own}\nSSLProxyMachineCertificateChainFile {issuer}\n"
        )
    } else {
        String::new()
    };
    text + &format!(
        "Listen {front}\n<VirtualHost {front}>\nServerName proxy.test\nSSLProxyEngine on\n\
         SSLProxyVerify require\nSSLProxyVerifyDepth 3\nSSLProxyCACertificateFile {}\n\
         SSLProxyCheckPeerName off\nSSLProxyCheckPeerCN off\n\
         {certificate}<Proxy balancer://{UPSTREAM}>\n\
         BalancerMember https://{} disablereuse=on\n</Proxy>\n\
         ProxyPass / balancer://{UPSTREAM}/\n</VirtualHost>\n",
        utf8(&scene.pki.root).unwrap(),
        scene.upstream,
        front = scene.front,
    )
}

#[test]
fn apache_is_read_and_its_reload_is_drift() {
    if !requirement::met("apache_is_read_and_its_reload_is_drift", &["nginx", "apache2"]) {
        return;
    }
    let scene = Scene::start();
    let path = scene.dir.path().join("apache.conf");
    write(&path, &configuration(&scene, true));
    let log = scene.dir.path().join("apache-output.log");
    let arguments = ["-D", "FOREGROUND", "-f", utf8(&path).unwrap()];
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), "apache2", arguments, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let agent = scene.agent();
    let hop = scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    assert_eq!(hop.context.name.as_deref(), Some(UPSTREAM));
    let at = || format!("{}:{}", path.display(), line_of(&path, "BalancerMember"));
    assert_eq!(hop.context.intent.unwrap().place.unwrap().to_string(), at());
    let finding = hop.context.configured_certificate.unwrap();
    assert!(finding.problems.is_empty() && finding.certificate.is_some(), "{finding:?}");

    // On disk, and not loaded.
    write(&path, &configuration(&scene, false));
    agent.wait_pending("apache2", true).unwrap();
    let hop = scene.wait(&agent, "the hop to be as before", is_mutual_by_intent);
    assert_eq!(blamed(&hop, REMOVED), None);

    // What `apachectl graceful` sends.
    proxy.signal(Signal::USR1).unwrap();
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    assert_eq!(blamed(&hop, REMOVED), Some(at()));
    agent.wait_pending("apache2", false).unwrap();

    write(&path, &configuration(&scene, true));
    proxy.signal(Signal::USR1).unwrap();
    scene.wait(&agent, "the drift to close", |hop| {
        blamed(hop, REMOVED).is_none() && is_mutual_by_intent(hop)
    });

    write(&path, "ServerName proxy.test\nSSLProxyEngine perhaps\n");
    wait_until("the broken file to be told", CHANGE, || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 200, "{}", ready.body);
        let json: serde_json::Value = serde_json::from_str(&ready.body)?;
        let component = &json["components"]["apache_configuration"];
        let detail = component["detail"].as_str().unwrap_or_default();
        Ok((component["state"] == "degraded" && detail.contains("apache.conf:2")).then_some(()))
    })
    .unwrap();
    scene.wait(&agent, "the last good configuration to count", is_mutual_by_intent);
}
