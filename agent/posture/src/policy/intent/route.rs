//! One way of a configuration to an upstream.

use std::net::SocketAddr;

use hopsight_core::{model::canonical, vocabulary};
use serde::{Deserialize, Serialize};

use super::{Place, Scheme, ServerAddress, Text, TlsIntent};

vocabulary! {
    /// What decides how a route is mended, beside its directive.
    #[derive(Default)]
    RouteKind {
        /// Nothing does.
        #[default]
        Plain => "plain",
        /// It carries streams of bytes (`stream` of nginx, `tcp` of Traefik).
        Stream => "stream",
        /// It stands in an `if` or a `limit_except` of nginx, which take no settings.
        Conditional => "conditional",
        /// A value of a variable leads there.
        ByVariable => "by_variable",
    }
}

impl RouteKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
    fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

/// One way of the configuration to an upstream: nginx's `proxy_pass` and its kin, a `server` of
/// haproxy, a transport socket of Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The directive (`proxy_pass`, `grpc_pass`, `server`, ...).
    pub directive: String,
    /// What else decides how it is mended.
    #[serde(default, skip_serializing_if = "RouteKind::is_plain")]
    pub kind: RouteKind,
    /// What it speaks that is not HTTP, by the name of its URL's scheme (`fcgi`, `ws`), where that
    /// decides how it is mended as well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// What stands behind the address in its URL, where what mends it has to say it again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Where it stands.
    pub at: Place,
    /// The servers of the upstream that it is for; all of them if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<ServerAddress>,
    /// How it speaks.
    pub scheme: Scheme,
    /// TLS settings in force there; meaningful unless the scheme is plaintext or passthrough.
    pub tls: TlsIntent,
    /// Name the upstream's certificate is checked for if `tls.name` says none; absent where it is
    /// checked for none then.
    pub default_name: Option<Text>,
}

impl Route {
    /// A route to all servers of an upstream, about which no more is said.
    pub(crate) fn new(directive: &str, at: Place, scheme: Scheme, tls: TlsIntent) -> Self {
        Self {
            directive: directive.to_owned(),
            kind: RouteKind::Plain,
            protocol: String::new(),
            uri: String::new(),
            at,
            only: Vec::new(),
            scheme,
            tls,
            default_name: None,
        }
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let TlsIntent { certificate, certificate_key, trusted_certificate, crl, name, sni, .. } =
            &self.tls;
        let names = self.tls.other_names.iter().map(|name| size_of_val(name) + name.value.len());
        let texts = [certificate, certificate_key, name, sni].into_iter().flatten();
        let files = [trusted_certificate, crl, &self.tls.ciphers].into_iter().flatten();
        let commands = &self.tls.conf_commands;
        size_of::<Self>()
            + self.directive.len()
            + self.uri.len()
            + size_of_val(self.only.as_slice())
            + self.default_name.as_ref().map_or(0, Text::len)
            + names.sum::<usize>()
            + texts.map(|setting| setting.value.len()).sum::<usize>()
            + files.map(|setting| setting.value.len()).sum::<usize>()
            + commands.iter().map(|one| size_of_val(one) + one.value.1.len()).sum::<usize>()
    }

    /// The name the upstream's certificate is checked for; further ones are in
    /// [`TlsIntent::other_names`].
    #[must_use]
    pub fn expected_name(&self) -> Option<&Text> {
        self.tls.name.as_ref().map(|setting| &setting.value).or(self.default_name.as_ref())
    }

    /// The name that is sent as SNI.
    #[must_use]
    pub fn sent_name(&self) -> Option<&Text> {
        match &self.tls.sni {
            Some(sni) => Some(&sni.value),
            None if self.tls.sends_server_name() => self.expected_name(),
            None => None,
        }
    }

    /// Whether it may lead to this address: that of a host name may be any.
    pub(super) fn may_lead_to(&self, address: SocketAddr) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|server| match server {
                ServerAddress::Ip(ip) => canonical(*ip) == canonical(address),
                ServerAddress::Host(_, port) => *port == address.port(),
                ServerAddress::Unix(_) => false,
            })
    }
}
