//! Reverse proxies that somebody writes for themselves, in Node and in Java.

use anyhow::Context as _;
use serde_json::json;

use super::{
    launch::{NEWER_NODE, Program, launch, write},
    site::{Hop, Kind, Site},
};
use crate::{
    nginx::utf8,
    process::{self, Daemon},
};

/// Starts the proxy with the system's Node.
pub(super) fn node(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    with_node(site, hops, "node")
}

/// Starts it with the one that a variable names.
pub(super) fn newer_node(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let program = Program::Named(NEWER_NODE).find().context("find the newer Node")?;
    with_node(site, hops, utf8(&program)?)
}

fn with_node(site: &Site, hops: &[Hop], program: &str) -> anyhow::Result<Daemon> {
    let script = write(site, "proxy.js", include_str!("../../ordinary/proxy.js"))?;
    let path = write(site, "hops.json", &configuration(site, hops)?)?;
    launch(site, hops, program, &[&script, &path])
}

/// Starts the proxy in Java.
pub(super) fn java(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let source = write(site, "Proxy.java", include_str!("../../ordinary/Proxy.java"))?;
    let dir = utf8(site.dir())?;
    process::run("javac", ["-d", dir, &source])?;
    let store = format!("{dir}/client.p12");
    let identity = &site.pki.client;
    let (chain, key) = (utf8(&identity.chain)?, utf8(&identity.key)?);
    let make = ["pkcs12", "-export", "-in", chain, "-inkey", key, "-out", &store];
    process::run("openssl", make.iter().chain(&["-passout", "pass:secret"]))?;
    let mut args = ["-cp", dir, "Proxy", &store].map(str::to_owned).to_vec();
    for hop in hops {
        let kind = match hop.kind {
            Kind::Mutual => "mutual",
            Kind::OneWay => "one-way",
            Kind::Clear => "clear",
        };
        args.extend([hop.front.to_string(), hop.dial.to_string(), kind.to_owned()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    launch(site, hops, "java", &args)
}

fn configuration(site: &Site, hops: &[Hop]) -> anyhow::Result<String> {
    let identity = &site.pki.client;
    let hops = hops.iter().map(|hop| {
        let mut one = json!({
            "listen": { "host": hop.front.ip().to_string(), "port": hop.front.port() },
            "upstream": { "host": hop.dial.ip().to_string(), "port": hop.dial.port() },
            "name": hop.server_name(),
            "tls": hop.kind != Kind::Clear,
        });
        if hop.kind == Kind::Mutual {
            one["cert"] = utf8(&identity.chain)?.into();
            one["key"] = utf8(&identity.key)?.into();
        }
        Ok(one)
    });
    let hops: anyhow::Result<Vec<_>> = hops.collect();
    Ok(json!(hops?).to_string())
}
