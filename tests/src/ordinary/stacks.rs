//! The proxies, each configured as its operators do: defaults, keep-alive, checks where they have
//! them; the names of the upstreams as server names.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    apache,
    launch::{NEWER_NODE, Program, TRAEFIK, launch, write},
    site::{Hop, Kind, Site},
    traffic_server, written,
};
use crate::{agent::VERDICT, envoy, http, nginx::utf8, process::Daemon, wait::wait_until};

/// A proxy.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// What it is, for people.
    pub name: &'static str,
    /// What its operator calls it: given to the agent, and shown by it.
    pub proxy: &'static str,
    /// The program, or where it is named.
    pub program: Program,
    /// Whether its upstreams under TLS speak HTTP/2.
    pub http2: bool,
    /// The hops it has.
    pub kinds: &'static [Kind],
    /// Starts it; it listens on the fronts of its hops when this returns.
    pub start: fn(&Site, &[Hop]) -> anyhow::Result<Daemon>,
}

const TLS: &[Kind] = &[Kind::Mutual, Kind::OneWay];
const EVERY: &[Kind] = &[Kind::Mutual, Kind::OneWay, Kind::Clear];

/// Every one.
pub const ALL: &[Stack] = &[
    stack("nginx", "nginx", Program::Installed("nginx"), EVERY, nginx),
    stack("haproxy, with checks", "haproxy", Program::Installed("haproxy"), EVERY, haproxy),
    stack("Envoy, HTTP/1.1", "envoy", Program::Envoy, EVERY, envoy_http1),
    Stack { http2: true, ..stack("Envoy, HTTP/2", "envoy", Program::Envoy, TLS, envoy_http2) },
    stack("Apache", "apache2", Program::Installed("apache2"), EVERY, apache::start),
    stack("Caddy", "caddy", Program::Installed("caddy"), EVERY, caddy),
    stack("Traefik", "traefik", Program::Named(TRAEFIK), EVERY, traefik),
    stack("Squid", "squid", Program::Installed("squid"), EVERY, squid),
    stack("stunnel", "stunnel4", Program::Installed("stunnel4"), TLS, stunnel),
    stack(
        "Traffic Server",
        "traffic_server",
        Program::Installed("traffic_server"),
        EVERY,
        traffic_server::start,
    ),
    stack(
        "Varnish, with probes",
        "varnishd",
        Program::Installed("varnishd"),
        &[Kind::Clear],
        varnish,
    ),
    stack("Node", "node", Program::Installed("node"), EVERY, written::node),
    stack("Node, newer", "node", Program::Named(NEWER_NODE), EVERY, written::newer_node),
    stack("Java", "java", Program::Installed("java"), EVERY, written::java),
];

const fn stack(
    name: &'static str,
    proxy: &'static str,
    program: Program,
    kinds: &'static [Kind],
    start: fn(&Site, &[Hop]) -> anyhow::Result<Daemon>,
) -> Stack {
    Stack { name, proxy, program, http2: false, kinds, start }
}

/// For each hop what is written of it, one after the other.
fn each(hops: &[Hop], text: impl Fn(&Hop) -> anyhow::Result<String>) -> anyhow::Result<String> {
    hops.iter().map(text).collect()
}

fn nginx(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let (chain, key) = (utf8(&site.pki.client.chain)?, utf8(&site.pki.client.key)?);
    let servers = each(hops, |hop| {
        let Hop { name, kind, front, dial } = hop;
        let scheme = if *kind == Kind::Clear { "http" } else { "https" };
        let certificate = match kind {
            Kind::Mutual => {
                format!("proxy_ssl_certificate {chain}; proxy_ssl_certificate_key {key};")
            }
            Kind::OneWay | Kind::Clear => String::new(),
        };
        Ok(format!(
            "upstream {name} {{ server {dial}; keepalive 8; }}\n\
             server {{ listen {front}; location / {{ proxy_pass {scheme}://{name}; \
             proxy_http_version 1.1; proxy_set_header Connection \"\"; {certificate} \
             proxy_ssl_name {}; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3; \
             }} }}\n",
            hop.server_name()
        ))
    })?;
    let config = crate::nginx::Config { http: servers, workers: 2, ..Default::default() };
    let dir = site.dir().join("proxy");
    Ok(crate::nginx::Nginx::start(&dir, &config, &site.place(), hops[0].front)?.daemon)
}

fn haproxy(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let bundle = utf8(&site.pki.client.bundle)?;
    let sections = each(hops, |hop| {
        let Hop { name, kind, front, dial } = hop;
        // The mutual upstream is checked by its handshake, the one-way one by a request, the one in
        // the clear by a connection.
        let (tls, check) = match kind {
            Kind::Mutual => (format!("ssl verify none crt {bundle}"), ""),
            Kind::OneWay => ("ssl verify none".to_owned(), "option httpchk GET /\n"),
            Kind::Clear => (String::new(), ""),
        };
        let sni = if *kind == Kind::Clear {
            String::new()
        } else {
            format!("sni str({0}) check-sni {0}", hop.server_name())
        };
        Ok(format!(
            "listen {name}\nbind {front}\n{check}server {name} {dial} {tls} {sni} check inter 1s\n"
        ))
    })?;
    let defaults = "global\nlog stdout format raw daemon\ndefaults\nmode http\n\
                    timeout connect 5s\ntimeout client 10s\ntimeout server 10s\n";
    let path = write(site, "haproxy.cfg", &format!("{defaults}{sections}"))?;
    launch(site, hops, "haproxy", &["-db", "-f", &path])
}

fn envoy_http1(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    start_envoy(site, hops, &json!({ "http_protocol_options": {} }))
}

fn envoy_http2(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    start_envoy(site, hops, &json!({ "http2_protocol_options": { "max_concurrent_streams": 1 } }))
}

fn start_envoy(site: &Site, hops: &[Hop], http: &Value) -> anyhow::Result<Daemon> {
    let mut config = envoy::Pools::default();
    for hop in hops {
        let identity = (hop.kind == Kind::Mutual).then_some(&site.pki.client);
        let tls = (hop.kind != Kind::Clear).then(|| hop.server_name());
        config.add(hop.name, (hop.front, hop.dial), tls.as_deref(), identity, http)?;
    }
    let path = write(site, "envoy.json", &config.bootstrap().to_string())?;
    let binary = envoy::binary().context("find Envoy (`cargo xtask setup` installs it)")?;
    // Hot restart shares memory between Envoys of the same number; we want to be alone.
    let args = ["-c", &path, "--disable-hot-restart", "--concurrency", "2", "-l", "warning"];
    launch(site, hops, utf8(&binary)?, &args)
}

fn caddy(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let mut servers = serde_json::Map::new();
    for hop in hops {
        let mut transport = json!({ "protocol": "http" });
        if hop.kind != Kind::Clear {
            let mut tls = json!({ "server_name": hop.server_name(), "insecure_skip_verify": true });
            if hop.kind == Kind::Mutual {
                tls["client_certificate_file"] = utf8(&site.pki.client.chain)?.into();
                tls["client_certificate_key_file"] = utf8(&site.pki.client.key)?.into();
            }
            transport["tls"] = tls;
        }
        let handler = json!({
            "handler": "reverse_proxy",
            "transport": transport,
            "upstreams": [{ "dial": hop.dial.to_string() }],
        });
        let server = json!({
            "listen": [hop.front.to_string()],
            "automatic_https": { "disable": true },
            "routes": [{ "handle": [handler] }],
        });
        servers.insert(hop.name.to_owned(), server);
    }
    let config = json!({
        "admin": { "disabled": true, "config": { "persist": false } },
        "apps": { "http": { "servers": servers } },
    });
    let path = write(site, "caddy.json", &config.to_string())?;
    // It wants to keep files of its own in the user's home.
    let home = format!("HOME={}", utf8(site.dir())?);
    launch(site, hops, "env", &[&home, "caddy", "run", "--config", &path])
}

fn traefik(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let (mut entries, mut routers) = (serde_json::Map::new(), serde_json::Map::new());
    let (mut services, mut transports) = (serde_json::Map::new(), serde_json::Map::new());
    for hop in hops {
        let Hop { name, kind, front, dial } = hop;
        entries.insert((*name).to_owned(), json!({ "address": front.to_string() }));
        let router = json!({ "entryPoints": [name], "rule": "PathPrefix(`/`)", "service": name });
        routers.insert((*name).to_owned(), router);
        let scheme = if *kind == Kind::Clear { "http" } else { "https" };
        let balancer = json!({
            "servers": [{ "url": format!("{scheme}://{dial}") }],
            "serversTransport": name,
        });
        services.insert((*name).to_owned(), json!({ "loadBalancer": balancer }));
        let mut transport = json!({ "serverName": hop.server_name(), "insecureSkipVerify": true });
        if *kind == Kind::Mutual {
            let identity = &site.pki.client;
            transport["certificates"] = json!([
                { "certFile": utf8(&identity.chain)?, "keyFile": utf8(&identity.key)? }
            ]);
        }
        transports.insert((*name).to_owned(), transport);
    }
    let http = json!({ "routers": routers, "services": services, "serversTransports": transports });
    let dynamic = write(site, "dynamic.yaml", &json!({ "http": http }).to_string())?;
    let config = json!({
        "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
        "entryPoints": entries,
        "providers": { "file": { "filename": dynamic } },
    });
    let path = write(site, "traefik.yaml", &config.to_string())?;
    let binary = Program::Named(TRAEFIK).find().context("find Traefik")?;
    let traefik = launch(site, hops, utf8(&binary)?, &[&format!("--configfile={path}")])?;
    // It listens before it has read its routes.
    for hop in hops {
        wait_until("Traefik to know its routes", VERDICT, || {
            Ok((http::get(hop.front, "/")?.status == 200).then_some(()))
        })?;
    }
    Ok(traefik)
}

fn squid(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let (chain, key) = (utf8(&site.pki.client.chain)?, utf8(&site.pki.client.key)?);
    let peers = each(hops, |hop| {
        let Hop { name, kind, front, dial } = hop;
        let server_name = hop.server_name();
        let tls = match kind {
            Kind::Mutual => format!(
                "tls sslcert={chain} sslkey={key} sslflags=DONT_VERIFY_PEER \
                 ssldomain={server_name}"
            ),
            Kind::OneWay => format!("tls sslflags=DONT_VERIFY_PEER ssldomain={server_name}"),
            Kind::Clear => String::new(),
        };
        Ok(format!(
            "http_port {front} accel defaultsite={server_name} name={name}\n\
             acl to-{name} myportname {name}\n\
             cache_peer {} parent {} 0 no-query no-digest originserver name=peer-{name} {tls}\n\
             cache_peer_access peer-{name} allow to-{name}\n\
             cache_peer_access peer-{name} deny all\n",
            dial.ip(),
            dial.port(),
        ))
    })?;
    let dir = utf8(site.dir())?;
    let text = format!(
        "{peers}http_access allow all\nnever_direct allow all\ncache deny all\n\
         pid_filename {dir}/squid.pid\ncoredump_dir {dir}\ncache_log {dir}/squid.log\n\
         access_log none\nvisible_hostname proxy.test\nshutdown_lifetime 1 seconds\n\
         netdb_filename none\npinger_enable off\n"
    );
    let path = write(site, "squid.conf", &text)?;
    launch(site, hops, "squid", &["--foreground", "-f", &path])
}

fn stunnel(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let services = each(hops, |hop| {
        let identity = &site.pki.client;
        let certificate = if hop.kind == Kind::Mutual {
            format!("cert = {}\nkey = {}\n", utf8(&identity.chain)?, utf8(&identity.key)?)
        } else {
            String::new()
        };
        Ok(format!(
            "[{}]\nclient = yes\naccept = {}\nconnect = {}\nsni = {}\n{certificate}",
            hop.name,
            hop.front,
            hop.dial,
            hop.server_name()
        ))
    })?;
    let path = write(site, "stunnel.conf", &format!("foreground = yes\npid =\n{services}"))?;
    launch(site, hops, "stunnel4", &[&path])
}

fn varnish(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let [Hop { front, dial, .. }] = hops else { anyhow::bail!("Varnish has one hop") };
    let text = format!(
        "vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; \
         .probe = {{ .url = \"/\"; .interval = 1s; }} }}\n\
         sub vcl_recv {{ return (pass); }}\n",
        dial.ip(),
        dial.port()
    );
    let path = write(site, "default.vcl", &text)?;
    let (state, front) = (utf8(site.dir())?.to_owned() + "/varnish", front.to_string());
    let args = ["-F", "-j", "none", "-n", &state, "-f", &path, "-a", &front, "-s", "malloc,16m"];
    launch(site, hops, "varnishd", &args)
}
