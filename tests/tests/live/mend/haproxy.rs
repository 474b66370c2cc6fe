//! haproxy: words go to the end of the line of a server.

use std::{fmt::Write as _, fs, path::PathBuf};

use hopsight_tests::{nginx::utf8, process, process::Daemon, requirement};
use rustix::process::Signal;

use super::{Finding, Proxy, Says, Scene, Upstream, insert::parts, server_name, snippets_mend};

struct Running {
    daemon: Option<Daemon>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/haproxy";

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let mut choices = String::new();
        let mut backends = String::new();
        for upstream in &scene.upstreams {
            let Upstream { name, address, .. } = upstream;
            let words = words(scene, says(upstream));
            // Writing to a String cannot fail.
            let _ = writeln!(choices, "use_backend {name} if {{ path_beg /{name} }}");
            let _ =
                writeln!(backends, "backend {name}\nhttp-reuse never\nserver a {address}{words}");
        }
        format!(
            "global\nnbthread 1\ndefaults\nmode http\ntimeout connect 5s\ntimeout client 10s\n\
             timeout server 10s\nfrontend in\nbind {}\n{choices}{backends}",
            scene.front
        )
    }

    fn load(&mut self, scene: &Scene, configuration: &str) {
        let path = scene.path("haproxy.cfg");
        fs::write(&path, configuration).unwrap();
        let path = utf8(&path).unwrap();
        process::run("haproxy", ["-c", "-f", path]).unwrap();
        if let Some(daemon) = &self.daemon {
            daemon.signal(Signal::USR2).unwrap();
            return;
        }
        let log = scene.path("haproxy.log");
        let words = ["-W", "-db", "-f", path];
        let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), "haproxy", words, &log).unwrap();
        daemon.wait_listening(scene.front).unwrap();
        self.daemon = Some(daemon);
    }

    /// It has certificate and key in one file.
    fn real(&self, scene: &Scene, example: &str) -> Option<PathBuf> {
        match example {
            "client.pem" => Some(scene.pki.client.bundle.clone()),
            "upstream-ca.pem" => Some(scene.pki.root.clone()),
            _ => None,
        }
    }

    fn to_lint(&self, scene: &Scene) -> String {
        utf8(&scene.path("haproxy.cfg")).unwrap().to_owned()
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        let (without, words) = parts(snippet);
        let mut lines: Vec<_> = configuration.lines().map(str::to_owned).collect();
        let line = &mut lines[finding.at.line - 1];
        assert!(line.starts_with("server a "), "{finding:?}: {line}");
        for said in without {
            *line = line.replace(&format!(" {said}"), "");
        }
        if !words.is_empty() {
            *line += &format!(" {words}");
        }
        lines.join("\n") + "\n"
    }
}

fn words(scene: &Scene, says: Says) -> String {
    let Says { tls, certificate, verify, old } = says;
    if !tls {
        return String::new();
    }
    let mut text = " ssl no-ssl-reuse".to_owned();
    if verify {
        let root = utf8(&scene.pki.root).unwrap();
        text += &format!(" verify required ca-file {root} sni str({})", server_name());
    } else {
        text += " verify none";
    }
    if certificate {
        text += &format!(" crt {}", utf8(&scene.pki.client.bundle).unwrap());
    }
    if old {
        text += " ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2";
    }
    text
}

#[test]
fn snippets_mend_haproxy() {
    if requirement::met("snippets_mend_haproxy", &["nginx", "haproxy"]) {
        snippets_mend(|_| Running { daemon: None }, &[]);
    }
}
