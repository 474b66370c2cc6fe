//! Apache Traffic Server.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::{
    launch::{launch, write},
    site::{Hop, Kind, Site},
};
use crate::{nginx::utf8, process::Daemon};

/// Where Debian keeps the files that it starts with.
const DEFAULTS: &str = "/etc/trafficserver";

/// Starts it with a rule for each hop, and its files below the site's.
pub(super) fn start(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let root = utf8(site.dir())?.to_owned() + "/trafficserver";
    let own = |name: &str| format!("{root}/{name}");
    for name in ["etc", "cache", "var", "run", "log"] {
        fs::create_dir_all(own(name)).with_context(|| format!("create {}", own(name)))?;
    }
    for entry in fs::read_dir(DEFAULTS).with_context(|| format!("list {DEFAULTS}"))? {
        let from = entry.with_context(|| format!("list {DEFAULTS}"))?.path();
        let name = from.file_name().unwrap_or_default();
        if from.is_file() {
            fs::copy(&from, Path::new(&own("etc")).join(name)).context("copy its defaults")?;
        }
    }
    let etc = |name: &str, text: &str| write(site, &format!("trafficserver/etc/{name}"), text);
    etc("records.config", &records(hops))?;
    etc("remap.config", &remap(hops))?;
    etc("sni.yaml", &certificates(site, hops)?)?;
    let layout = format!(
        "prefix: {root}\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\n\
         sysconfdir: {root}/etc\ndatadir: {root}/cache\nincludedir: /usr/include\n\
         libdir: /usr/lib/trafficserver\nlibexecdir: /usr/lib/trafficserver/modules\n\
         localstatedir: {root}/var\nruntimedir: {root}/run\nlogdir: {root}/log\n\
         cachedir: {root}/cache\n"
    );
    let layout = write(site, "trafficserver/runroot.yaml", &layout)?;
    launch(site, hops, "traffic_server", &[&format!("--run-root={layout}")])
}

fn records(hops: &[Hop]) -> String {
    let ports = hops.iter().map(|hop| format!("{}:ip-in={}", hop.front.port(), hop.front.ip()));
    let ports = ports.collect::<Vec<_>>().join(" ");
    let settings = [
        ("http.server_ports", "STRING", &*ports),
        ("admin.user_id", "STRING", "#-1"),
        ("http.cache.http", "INT", "0"),
        ("reverse_proxy.enabled", "INT", "1"),
        ("url_remap.remap_required", "INT", "1"),
        ("ssl.client.verify.server.policy", "STRING", "DISABLED"),
    ];
    let lines =
        settings.map(|(name, kind, value)| format!("CONFIG proxy.config.{name} {kind} {value}\n"));
    lines.concat()
}

fn remap(hops: &[Hop]) -> String {
    let rule = |hop: &Hop| {
        let scheme = if hop.kind == Kind::Clear { "http" } else { "https" };
        format!("map http://{}/ {scheme}://{}/\n", hop.front, hop.dial)
    };
    hops.iter().map(rule).collect()
}

/// Which upstreams get a client certificate; they are told by their names in the rules.
fn certificates(site: &Site, hops: &[Hop]) -> anyhow::Result<String> {
    let identity = &site.pki.client;
    let (chain, key) = (utf8(&identity.chain)?, utf8(&identity.key)?);
    let mutual = hops.iter().filter(|hop| hop.kind == Kind::Mutual);
    let rule = |hop: &Hop| {
        format!("- fqdn: '{}'\n  client_cert: {chain}\n  client_key: {key}\n", hop.dial.ip())
    };
    Ok(format!("sni:\n{}", mutual.map(rule).collect::<String>()))
}
