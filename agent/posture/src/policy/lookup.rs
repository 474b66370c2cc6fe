//! Which upstream of a configuration a connection belongs to.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use hopsight_core::model::canonical;

use super::intent::{Intent, ServerAddress, Servers, UpstreamIntent};

/// Upstreams beyond which an address tells nothing: what all of them say would have to be looked at
/// for each connection.
const MAX_SHARING: usize = 1_024;

/// The upstreams that may have been meant, as positions in [`Intent::upstreams`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Exactly this one.
    One(usize),
    /// Several share the address (and the server name, if one was sent).
    Several(Vec<usize>),
    /// None that the configuration names.
    None,
}

/// Finds upstreams by the address that was connected to.
#[derive(Clone, Debug, Default)]
pub struct UpstreamIndex {
    by_address: HashMap<SocketAddr, Vec<usize>>,
    /// Upstreams whose addresses are not all known, by the names their routes send.
    open_by_name: HashMap<String, Vec<usize>>,
    names: Vec<Vec<String>>,
}

impl UpstreamIndex {
    /// Indexes `intent`. `resolve` gives the addresses of a host name as the proxy would see them.
    #[must_use]
    pub fn new(intent: &Intent, resolve: &dyn Fn(&str) -> Vec<IpAddr>) -> Self {
        let mut index = Self::default();
        for (at, upstream) in intent.upstreams.iter().enumerate() {
            for server in &upstream.servers {
                let addresses = match &server.address {
                    ServerAddress::Ip(address) => vec![*address],
                    ServerAddress::Host(host, port) => {
                        resolve(host).into_iter().map(|ip| SocketAddr::new(ip, *port)).collect()
                    }
                    ServerAddress::Unix(_) => Vec::new(),
                };
                for address in addresses {
                    let known = index.by_address.entry(canonical(address)).or_default();
                    // Positions come in their order.
                    if known.last() != Some(&at) {
                        known.push(at);
                    }
                }
            }
            let names = server_names(upstream);
            let changing = |address: &ServerAddress| matches!(address, ServerAddress::Host(..));
            let open = upstream.listing == Servers::Dynamic
                || upstream.servers.iter().any(|server| changing(&server.address));
            for name in names.iter().filter(|_| open) {
                index.open_by_name.entry(name.clone()).or_default().push(at);
            }
            index.names.push(names);
        }
        index
    }

    /// The upstream of a connection to `address` whose ClientHello named `server_name`.
    #[must_use]
    pub fn find(&self, address: SocketAddr, server_name: Option<&str>) -> Found {
        let server_name = server_name.map(str::to_ascii_lowercase);
        let mut found = match (self.by_address.get(&canonical(address)), &server_name) {
            (Some(found), _) => found.clone(),
            (None, Some(name)) => self.open_by_name.get(name).cloned().unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        if let (2.., Some(name)) = (found.len(), &server_name)
            && found.iter().any(|&at| self.names[at].contains(name))
        {
            found.retain(|&at| self.names[at].contains(name));
        }
        match found.as_slice() {
            [] => Found::None,
            several if several.len() > MAX_SHARING => Found::None,
            [one] => Found::One(*one),
            _ => Found::Several(found),
        }
    }
}

/// The names an upstream's routes send as SNI, as far as known, in lower case.
fn server_names(upstream: &UpstreamIntent) -> Vec<String> {
    let mut names: Vec<_> = upstream
        .routes
        .iter()
        .filter_map(|route| route.sent_name()?.literal())
        .map(str::to_ascii_lowercase)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::nginx::tests::read_one;

    const CONFIGURATION: &str = r"
        http {
            proxy_ssl_server_name on;
            upstream payments { server 10.0.0.1:443; server 10.0.0.2:443; }
            upstream reports  { server 10.0.0.2:443; }
            server {
                location /p { proxy_pass https://payments; proxy_ssl_name payments.internal; }
                location /r { proxy_pass https://reports; }
                location /h { proxy_pass https://host.internal; }
                location /u { proxy_pass http://unix:/run/app.sock; }
                location /v { proxy_pass https://$x; proxy_ssl_name tenant.internal; }
            }
        }";

    #[test]
    fn connections_are_named() {
        let intent = read_one(CONFIGURATION).unwrap();
        let resolve = |host: &str| match host {
            "host.internal" => vec!["10.0.0.9".parse().unwrap()],
            _ => Vec::new(),
        };
        let index = UpstreamIndex::new(&intent, &resolve);
        for (address, server_name, expected) in [
            ("10.0.0.1:443", None, Found::One(0)),
            ("[::ffff:10.0.0.1]:443", None, Found::One(0)),
            ("10.0.0.1:80", None, Found::None),
            ("10.0.0.2:443", None, Found::Several(vec![0, 1])),
            ("10.0.0.2:443", Some("payments.internal"), Found::One(0)),
            ("10.0.0.2:443", Some("REPORTS"), Found::One(1)),
            ("10.0.0.2:443", Some("other"), Found::Several(vec![0, 1])),
            ("10.0.0.9:443", None, Found::One(2)),
            // The host's addresses changed since they were looked up.
            ("10.0.0.8:443", Some("host.internal"), Found::One(2)),
            ("10.0.0.7:443", Some("tenant.internal"), Found::One(4)),
            ("10.0.0.7:443", None, Found::None),
        ] {
            let found = index.find(address.parse().unwrap(), server_name);
            assert_eq!(found, expected, "{address} {server_name:?}");
        }
    }
}
