//! Apache: directives go into the section of the upstream, in place of those of their names.

use std::{fmt::Write as _, fs, path::PathBuf};

use hopsight_tests::{nginx::utf8, process, process::Daemon, requirement};
use rustix::process::Signal;

use super::{Finding, Proxy, Says, Scene, Upstream, insert::parts, snippets_mend};
use crate::intent::apache::{beginning, certificates};

/// What the snippet says of certificates such as ours.
const INTERMEDIATE: &str = "# where an intermediate has issued it: ";

struct Running {
    daemon: Option<Daemon>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/apache2";

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let mut text = beginning(scene.dir.path());
        // Addresses are in no certificate.
        let _ = writeln!(
            text,
            "Listen {front}\n<VirtualHost {front}>\nServerName proxy.test\n\
             SSLProxyCheckPeerName off\nSSLProxyCheckPeerCN off",
            front = scene.front
        );
        for upstream in &scene.upstreams {
            let (name, says) = (&upstream.name, says(upstream));
            let scheme = if says.tls { "https" } else { "http" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "<Proxy balancer://{name}>\nBalancerMember {scheme}://{} disablereuse=on\n{}</Proxy>\n\
                 ProxyPass /{name} balancer://{name}",
                upstream.address,
                section(scene, says)
            );
        }
        text + "</VirtualHost>\n"
    }

    fn load(&mut self, scene: &Scene, configuration: &str) {
        let path = scene.path("apache.conf");
        fs::write(&path, configuration).unwrap();
        let path = utf8(&path).unwrap();
        process::run("apache2", ["-t", "-f", path]).unwrap();
        if let Some(daemon) = &self.daemon {
            daemon.signal(Signal::USR1).unwrap();
            return;
        }
        let words = ["-D", "FOREGROUND", "-f", path];
        let log = scene.path("apache-output.log");
        let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), "apache2", words, &log).unwrap();
        daemon.wait_listening(scene.front).unwrap();
        self.daemon = Some(daemon);
    }

    /// It has certificate and key in one file, and what is above them in another.
    fn real(&self, scene: &Scene, example: &str) -> Option<PathBuf> {
        let [own, issuer] = certificates(scene.dir.path(), &scene.pki);
        match example {
            "client.pem" => Some(own.into()),
            "client-chain.pem" => Some(issuer.into()),
            "upstream-ca.pem" => Some(scene.pki.root.clone()),
            _ => None,
        }
    }

    fn to_lint(&self, scene: &Scene) -> String {
        utf8(&scene.path("apache.conf")).unwrap().to_owned()
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        let (without, written) = parts(snippet);
        let more = snippet.lines().filter_map(|line| line.strip_prefix(INTERMEDIATE));
        let new: Vec<_> = written.lines().chain(more).collect();
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let set: Vec<_> = new.iter().map(|line| first(line)).collect();
        let is_tls = snippet.contains("# and in the line of BalancerMember: https://");
        let begin = format!("<Proxy balancer://{}>", finding.upstream);
        let mut is_within = false;
        let mut out = Vec::new();
        for line in configuration.lines() {
            is_within |= line == begin;
            if is_within && line == "</Proxy>" {
                out.extend(new.iter().map(|&line| line.to_owned()));
                is_within = false;
            }
            let is_gone = is_within && (set.contains(&first(line)) || without.contains(&line));
            let is_member = is_within && line.starts_with("BalancerMember ");
            match line {
                _ if is_gone => {}
                line if is_member && is_tls => out.push(line.replace("http://", "https://")),
                line => out.push(line.to_owned()),
            }
        }
        out.join("\n") + "\n"
    }
}

fn section(scene: &Scene, says: Says) -> String {
    let mut text = String::new();
    if !says.tls {
        return text;
    }
    text += "SSLProxyEngine on\n";
    if says.verify {
        let root = utf8(&scene.pki.root).unwrap();
        let _ = writeln!(
            text,
            "SSLProxyVerify require\nSSLProxyVerifyDepth 3\nSSLProxyCACertificateFile {root}"
        );
    }
    if says.certificate {
        let [own, issuer] = certificates(scene.dir.path(), &scene.pki);
        let _ = writeln!(
            text,
            "SSLProxyMachineCertificateFile {own}\nSSLProxyMachineCertificateChainFile {issuer}"
        );
    }
    if says.old {
        text += "SSLProxyProtocol -all +TLSv1.2\n";
    }
    text
}

#[test]
fn snippets_mend_apache() {
    if requirement::met("snippets_mend_apache", &["nginx", "apache2"]) {
        snippets_mend(|_| Running { daemon: None }, &[]);
    }
}
