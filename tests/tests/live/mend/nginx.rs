//! nginx: a directive goes beside the line that is blamed, in place of one of its name in that block.

use std::fmt::Write as _;

use hopsight_tests::{
    nginx::{Config, Nginx, utf8},
    process, requirement,
};

use super::{Finding, Proxy, Says, Scene, Upstream, insert::parts, server_name, snippets_mend};

struct Running {
    nginx: Option<Nginx>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/nginx";

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let mut blocks = String::new();
        let mut locations = String::new();
        for upstream in &scene.upstreams {
            let Upstream { name, address, .. } = upstream;
            // Writing to a String cannot fail.
            let _ = writeln!(blocks, "upstream {name} {{\nserver {address};\n}}");
            let _ =
                writeln!(locations, "location /{name} {{\n{}}}", location(scene, upstream, says));
        }
        format!("{blocks}server {{\nlisten {};\n{locations}}}\n", scene.front)
    }

    fn load(&mut self, scene: &Scene, configuration: &str) {
        let dir = scene.path("proxy");
        let config = Config { http: configuration.to_owned(), ..Config::default() };
        let Some(nginx) = &self.nginx else {
            let started = Nginx::start(&dir, &config, &scene.cgroup.place(), scene.front);
            self.nginx = Some(started.unwrap());
            return;
        };
        let path = Nginx::write(&dir, &config).unwrap();
        let dir = utf8(&dir).unwrap();
        let words = ["-t", "-p", dir, "-e", "stderr", "-c", utf8(&path).unwrap()];
        process::run("nginx", words).unwrap();
        nginx.reload().unwrap();
    }

    fn to_lint(&self, scene: &Scene) -> String {
        utf8(&scene.path("proxy/nginx.conf")).unwrap().to_owned()
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        // The blamed line is one of the whole file; this is what stands in its `http`.
        let blamed = std::fs::read_to_string(&finding.at.file).unwrap();
        let blamed = blamed.lines().nth(finding.at.line - 1).unwrap();
        let block = format!("location /{} {{", finding.upstream);
        let lines: Vec<_> = configuration.lines().collect();
        let begin = lines.iter().position(|line| *line == block).unwrap();
        let end = begin + lines[begin..].iter().position(|line| *line == "}").unwrap();
        let within = &lines[begin..end];
        let at = within.iter().position(|line| *line == blamed);
        let at = begin + at.unwrap_or_else(|| panic!("{blamed:?} is not in {within:?}"));
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let (without, snippet) = parts(snippet);
        let set: Vec<_> = snippet.lines().map(first).collect();
        let mut out = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let is_within = number > begin && number < end;
            if !(is_within && (set.contains(&first(line)) || without.contains(line))) {
                out.push(*line);
            }
            if number == at {
                out.extend(snippet.lines());
            }
        }
        out.join("\n") + "\n"
    }
}

fn location(scene: &Scene, upstream: &Upstream, says: &dyn Fn(&Upstream) -> Says) -> String {
    let Says { tls, certificate, verify, old } = says(upstream);
    let scheme = if tls { "https" } else { "http" };
    let mut text = format!("proxy_pass {scheme}://{};\n", upstream.name);
    if certificate {
        let client = &scene.pki.client;
        let (chain, key) = (utf8(&client.chain).unwrap(), utf8(&client.key).unwrap());
        text += &format!("proxy_ssl_certificate {chain};\nproxy_ssl_certificate_key {key};\n");
    }
    if verify {
        let root = utf8(&scene.pki.root).unwrap();
        text += &format!(
            "proxy_ssl_verify on;\nproxy_ssl_trusted_certificate {root};\nproxy_ssl_name {};\n",
            server_name()
        );
    } else if tls {
        text += "proxy_ssl_verify off;\n";
    }
    if old {
        text += "proxy_ssl_protocols TLSv1.2;\n";
    }
    text + "proxy_ssl_session_reuse off;\n"
}

#[test]
fn snippets_mend_nginx() {
    if requirement::met("snippets_mend_nginx", &["nginx"]) {
        snippets_mend(|_| Running { nginx: None }, &[]);
    }
}
