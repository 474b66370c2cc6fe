//! How long `hopsight lint` takes for a configuration with many upstreams, for every reader.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;

use super::{build_release, result_file, tempdir};

/// What to lint.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Upstreams of each configuration
    #[arg(long, default_value_t = 2_000)]
    upstreams: usize,
    /// Interleaved runs; the median is shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// What a median may be, in seconds
    #[arg(long, default_value_t = 1.0)]
    at_most: f64,
    /// The program, in place of a release build
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Mutual TLS with a check everywhere, so that everything is held against policy and passes.
const POLICY: &str = "[[policies]]\nname = \"all\"\nmatch.upstream = \"*\"\nrequire = \"mtls\"\n\
                      verify_upstream = \"always\"\n";

/// The main file of a configuration, and what makes it for so many upstreams.
type Configuration = (&'static str, fn(usize) -> String);

/// All that are read.
const CONFIGURATIONS: [Configuration; 8] = [
    ("nginx.conf", nginx),
    ("haproxy.cfg", haproxy),
    ("envoy.yaml", envoy),
    ("envoy.json", envoy_json),
    ("caddy.json", caddy),
    ("traefik.yaml", traefik),
    ("apache2.conf", apache),
    ("httpd.conf", apache_hosts),
];

/// Writes the configurations, has each read in turn, and reports.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Args { upstreams, runs, at_most, program } = args;
    let program = match program {
        Some(program) => program.clone(),
        None => build_release(&[])?.join("hopsight"),
    };
    let folder = tempdir()?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    };
    write("policy.toml", POLICY)?;
    write("services.yaml", &traefik_services(*upstreams))?;
    for (name, text) in CONFIGURATIONS {
        write(name, &text(*upstreams))?;
    }
    let mut seconds = vec![Vec::new(); CONFIGURATIONS.len()];
    for _ in 0..*runs {
        for ((name, _), seconds) in CONFIGURATIONS.iter().zip(&mut seconds) {
            seconds.push(timed(&program, &folder, name, *upstreams)?);
        }
    }
    fs::remove_dir_all(&folder).context("remove the configurations")?;
    println!("{upstreams} upstreams, {runs} runs each\nFILE           MEDIAN s   MAX s");
    let mut slow = Vec::new();
    let mut medians = Vec::new();
    for ((name, _), seconds) in CONFIGURATIONS.iter().zip(&mut seconds) {
        seconds.sort_by(f64::total_cmp);
        let (Some(median), Some(max)) = (seconds.get(seconds.len() / 2), seconds.last()) else {
            anyhow::bail!("--runs has to be 1 at least");
        };
        println!("{name:<14} {median:>8.3} {max:>7.3}");
        medians.push(format!("\"{name}\": {median:.3}"));
        if median > at_most {
            slow.push(*name);
        }
    }
    let result = format!(
        "{{\"upstreams\": {upstreams}, \"runs\": {runs}, \"median_seconds\": {{{}}}}}\n",
        medians.join(", ")
    );
    fs::write(result_file("lint")?, result).context("write the result")?;
    anyhow::ensure!(slow.is_empty(), "more than {at_most} s: {}", slow.join(", "));
    Ok(())
}

/// One run, which has to have held every upstream against policy.
fn timed(program: &Path, folder: &Path, name: &str, upstreams: usize) -> anyhow::Result<f64> {
    let mut command = Command::new(program);
    command.current_dir(folder).stderr(Stdio::inherit());
    command.args(["lint", name, "--policy", "policy.toml"]);
    let start = Instant::now();
    let output = command.output().with_context(|| format!("run {}", program.display()))?;
    let seconds = start.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{name}: passes, upstreams: {upstreams}, ");
    anyhow::ensure!(text.contains(&wanted), "{}: {text}", output.status);
    Ok(seconds)
}

/// What is written `count` times, between what comes before and after.
fn repeated(
    before: &str,
    count: usize,
    one: impl Fn(&mut String, usize) -> std::fmt::Result,
    after: &str,
) -> String {
    let mut text = before.to_owned();
    for number in 0..count {
        // A text takes everything.
        let _ = one(&mut text, number);
    }
    text + after
}

/// The address of an upstream's server.
fn address(number: usize) -> String {
    format!("10.{}.{}.1", number / 250 % 250, number % 250)
}

fn nginx(count: usize) -> String {
    let all = repeated(
        "events {}\nhttp {\n",
        count,
        |out, n| writeln!(out, "upstream u{n} {{ server {}:8443; }}", address(n)),
        "server {\nlisten 80;\n",
    );
    repeated(
        &all,
        count,
        |out, n| {
            writeln!(
                out,
                "location /u{n}/ {{ proxy_pass https://u{n}; proxy_ssl_certificate c.pem; \
                 proxy_ssl_certificate_key c.key; proxy_ssl_verify on; \
                 proxy_ssl_trusted_certificate ca.pem; }}"
            )
        },
        "}\n}\n",
    )
}

fn haproxy(count: usize) -> String {
    repeated(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n",
        count,
        |out, n| {
            writeln!(
                out,
                "backend b{n}\n  server s1 {}:8443 ssl verify required ca-file ca.pem crt c.pem",
                address(n)
            )
        },
        "",
    )
}

/// A cluster, in flow style, which is JSON as well.
fn cluster(out: &mut String, n: usize) -> std::fmt::Result {
    write!(
        out,
        r#"{{"name": "c{n}", "type": "STATIC", "load_assignment": {{"cluster_name": "c{n}", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address": {{"socket_address": {{"address": "{}", "port_value": 8443}}}}}}}}]}}]}}, "transport_socket": {{"name": "tls", "typed_config": {{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {{"tls_certificates": [{{"certificate_chain": {{"filename": "c.pem"}}, "private_key": {{"filename": "c.key"}}}}], "validation_context": {{"trusted_ca": {{"filename": "ca.pem"}}}}}}}}}}}}"#,
        address(n)
    )
}

fn envoy(count: usize) -> String {
    let one = |out: &mut String, n| {
        out.push_str("  - ");
        cluster(out, n)?;
        writeln!(out)
    };
    repeated("static_resources:\n  clusters:\n", count, one, "")
}

fn envoy_json(count: usize) -> String {
    let one = |out: &mut String, n| {
        out.push_str(if n == 0 { "" } else { ",\n" });
        cluster(out, n)
    };
    repeated("{\"static_resources\": {\"clusters\": [\n", count, one, "]}}\n")
}

fn caddy(count: usize) -> String {
    repeated(
        r#"{"apps": {"http": {"servers": {"s": {"listen": [":80"], "routes": ["#,
        count,
        |out, n| {
            write!(
                out,
                r#"{}{{"match": [{{"path": ["/u{n}/*"]}}], "handle": [{{"handler": "reverse_proxy", "upstreams": [{{"dial": "{}:8443"}}], "transport": {{"protocol": "http", "tls": {{"client_certificate_file": "c.pem", "client_certificate_key_file": "c.key", "ca": {{"provider": "file", "pem_files": ["ca.pem"]}}}}}}}}]}}"#,
                if n == 0 { "" } else { ",\n" },
                address(n)
            )
        },
        "]}}}}}\n",
    )
}

fn traefik(_: usize) -> String {
    "entryPoints:\n  web:\n    address: ':80'\nproviders:\n  file:\n    filename: services.yaml\n"
        .to_owned()
}

fn traefik_services(count: usize) -> String {
    repeated(
        "http:\n  serversTransports:\n    mutual:\n      certificates:\n      - certFile: c.pem\n        \
         keyFile: c.key\n      rootCAs: [ca.pem]\n  services:\n",
        count,
        |out, n| {
            writeln!(
                out,
                "    s{n}:\n      loadBalancer:\n        serversTransport: mutual\n        servers:\n        \
                 - url: https://{}:8443",
                address(n)
            )
        },
        "",
    )
}

/// A section with settings for each balancer.
fn apache(count: usize) -> String {
    repeated(
        "SSLProxyEngine on\n",
        count,
        |out, n| {
            writeln!(
                out,
                "<Proxy balancer://b{n}>\nBalancerMember https://{}:8443\n\
                 SSLProxyMachineCertificateFile c.pem\nSSLProxyCACertificateFile ca.pem\n\
                 SSLProxyVerify require\n</Proxy>\nProxyPass /u{n}/ balancer://b{n}/",
                address(n)
            )
        },
        "",
    )
}

/// A virtual host for each upstream.
fn apache_hosts(count: usize) -> String {
    repeated(
        "",
        count,
        |out, n| {
            writeln!(
                out,
                "<VirtualHost *:80>\nServerName v{n}.test\nSSLProxyEngine on\n\
                 SSLProxyMachineCertificateFile c.pem\nSSLProxyCACertificateFile ca.pem\n\
                 SSLProxyVerify require\nProxyPass / https://{}:8443/\n</VirtualHost>",
                address(n)
            )
        },
        "",
    )
}
