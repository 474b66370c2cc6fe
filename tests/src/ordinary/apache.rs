//! Apache's `mod_proxy`.

use std::fs;

use anyhow::Context as _;

use super::{
    launch::{launch, write},
    site::{Hop, Kind, Site},
};
use crate::{nginx::utf8, process::Daemon};

/// Modules it needs; Debian has each in a file of its own.
const MODULES: [&str; 6] =
    ["mpm_event", "authz_core", "socache_shmcb", "ssl", "proxy", "proxy_http"];

/// Starts it with a virtual host for each hop.
pub(super) fn start(site: &Site, hops: &[Hop]) -> anyhow::Result<Daemon> {
    let dir = utf8(site.dir())?;
    let mut text = format!(
        "ServerRoot {dir}\nServerName proxy.test\nPidFile {dir}/apache.pid\n\
         DefaultRuntimeDir {dir}\nErrorLog {dir}/apache.log\nUser www-data\nGroup www-data\n"
    );
    for name in MODULES {
        text += &format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    }
    for hop in hops {
        let Hop { kind, front, dial, .. } = hop;
        let (scheme, tls) = match kind {
            Kind::Clear => ("http", String::new()),
            Kind::OneWay | Kind::Mutual => ("https", proxy_tls(site, *kind)?),
        };
        text += &format!(
            "Listen {front}\n<VirtualHost {front}>\nServerName proxy.test\n{tls}ProxyPass / {scheme}://{dial}/\n\
             </VirtualHost>\n"
        );
    }
    let path = write(site, "apache.conf", &text)?;
    launch(site, hops, "apache2", &["-D", "FOREGROUND", "-f", &path])
}

/// The certificate with its key alone, and what issued it, each in a file: of several certificates
/// in one it takes each for one of its own.
fn certificates(site: &Site) -> anyhow::Result<(String, String)> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let identity = &site.pki.client;
    let chain = fs::read_to_string(&identity.chain).context("read the chain")?.replace('\r', "");
    let key = fs::read_to_string(&identity.key).context("read the key")?;
    let end = chain.find(END).context("find the end of the certificate")? + END.len();
    let (own, issuer) = chain.split_at(end);
    Ok((write(site, "own.pem", &format!("{own}{key}"))?, write(site, "issuer.pem", issuer)?))
}

fn proxy_tls(site: &Site, kind: Kind) -> anyhow::Result<String> {
    let certificate = match kind {
        Kind::Mutual => {
            let (own, issuer) = certificates(site)?;
            format!(
                "SSLProxyMachineCertificateFile {own}\n\
                 SSLProxyMachineCertificateChainFile {issuer}\n"
            )
        }
        Kind::OneWay | Kind::Clear => String::new(),
    };
    Ok(format!(
        "SSLProxyEngine on\nSSLProxyVerify none\nSSLProxyCheckPeerName off\n\
         SSLProxyCheckPeerExpire off\n{certificate}"
    ))
}
