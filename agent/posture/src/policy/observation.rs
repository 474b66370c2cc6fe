//! What policy is held against: one observed connection of a hop.

use std::net::SocketAddr;

use hopsight_core::{
    model::ClientAuth,
    report::{CarriedFrom, ConnectionReport, Verdict},
    tls::{
        certificate_facts::CertificateFacts, cryptography::CryptographyFacts, hello::TlsVersion,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    certificate::{ChainFinding, ChainWord, Revocation, requested},
    identities::Newer,
    on_disk::OnDisk,
    rules::{Subject, parse_version},
    status::StatusClaim,
    time::UnixTime,
};

/// A process, told from a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStart {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks after boot.
    pub start_ticks: u64,
}

/// One observed connection, with both ends named.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The proxy as its hop is labelled: `namespace/workload` of a pod, or the process name.
    pub proxy: &'a str,
    /// Its process name.
    pub process: &'a str,
    /// The process itself, where it could be looked at.
    pub opened_by: Option<ProcessStart>,
    /// Kubernetes namespace of the proxy, if it has one.
    pub namespace: Option<&'a str>,
    /// The upstream as its hop is labelled.
    pub upstream: &'a str,
    /// The upstream's name in the configuration, where it has one.
    pub name: Option<&'a str>,
    /// Upstream address as the proxy asked for it.
    pub address: SocketAddr,
    /// The verdict.
    pub verdict: Verdict,
    /// Negotiated version.
    pub tls_version: Option<TlsVersion>,
    /// Negotiated cipher suite, IANA name.
    pub cipher: Option<&'a str>,
    /// What else it used of cryptography, where that is known.
    pub cryptography: Option<&'a CryptographyFacts>,
    /// Whether a session was resumed.
    pub resumed: Option<bool>,
    /// The proxy's certificate, where it was seen.
    pub client_certificate: Option<&'a CertificateFacts>,
    /// The upstream's certificate, where it was seen.
    pub server_certificate: Option<&'a CertificateFacts>,
    /// The full handshake that it rests on, where it resumed a session of which that is known.
    pub carried_from: Option<&'a CarriedFrom>,
    /// The client certificate that the configuration names by now, where that is known.
    pub configured_certificate: Option<&'a CertificateFacts>,
    /// What its files say by now, where they can be read.
    pub on_disk: Option<&'a OnDisk>,
    /// Where the upstream's chain leads, where that was looked at.
    pub server_chain: Option<&'a ChainFinding>,
    /// Whether the certificates are revoked that the upstream and the proxy presented, where that was
    /// looked at.
    pub revocation: [Option<&'a Revocation>; 2],
    /// Another identity with the key of the upstream's certificate, and with that of the proxy's, if
    /// there is one.
    pub key_shared_with: [Option<&'a str>; 2],
    /// Where the proxy's chain leads, by the CAs that the upstream names in its request, where that
    /// was looked at.
    pub client_chain: Option<ChainWord>,
    /// Who presents a newer certificate of the upstream's identity, if anybody does.
    pub newer_elsewhere: Option<Newer>,
    /// What objects of the Kubernetes API say to be in force for the hop.
    pub claims: &'a [StatusClaim],
    /// When the connection was opened.
    pub at: UnixTime,
    /// The last that is said of this connection.
    pub is_final: bool,
    /// When the configuration was loaded that the process runs with, where that is known.
    pub loaded_at: Option<UnixTime>,
    /// Since when that configuration says what it says, where that is known: loading it again
    /// without a change makes [`Observation::loaded_at`] newer, and not this.
    pub configured_at: Option<UnixTime>,
    /// The configuration had a client certificate on every route to the upstream once.
    pub had_client_certificate: bool,
    /// Whether others have a say in the hop, who may ask for different things: proxies of this label, or
    /// workers that go on with an older configuration.
    pub is_shared: bool,
}

impl<'a> Observation<'a> {
    /// Where the handshake was hidden, the certificate that is configured is the one that was presented.
    pub fn take_configured_certificate(&mut self) {
        if self.verdict.client_auth == ClientAuth::Presented {
            self.client_certificate = self.client_certificate.or(self.configured_certificate);
        }
    }

    /// The observation a report makes, without what the configuration says. `at` is its
    /// `opened_at` on the wall clock.
    #[must_use]
    pub fn of(
        report: &'a ConnectionReport,
        proxy: &'a str,
        namespace: Option<&'a str>,
        upstream: &'a str,
        at: UnixTime,
    ) -> Self {
        Self {
            proxy,
            process: proxy,
            opened_by: None,
            namespace,
            upstream,
            name: None,
            address: report.destination,
            verdict: report.verdict,
            tls_version: report.tls_version.as_deref().and_then(parse_version),
            cipher: report.cipher.as_deref(),
            cryptography: Some(&report.cryptography),
            resumed: report.resumed,
            client_certificate: report.client_certificate.as_deref(),
            server_certificate: report.server_certificate.as_deref(),
            carried_from: report.carried_from.as_ref(),
            configured_certificate: None,
            on_disk: None,
            server_chain: None,
            revocation: [None; 2],
            key_shared_with: [None; 2],
            client_chain: requested::leads(report),
            newer_elsewhere: None,
            claims: &[],
            at,
            is_final: report.is_final,
            loaded_at: None,
            configured_at: None,
            had_client_certificate: false,
            is_shared: false,
        }
    }

    /// The hop, for finding its policy: by the upstream's name, else its address.
    #[must_use]
    pub const fn subject(&self) -> Subject<'a> {
        Subject {
            proxy: self.proxy,
            process: self.process,
            upstream: self.upstream_name(),
            namespace: self.namespace,
            address: self.address.ip(),
            port: self.address.port(),
        }
    }

    /// What people call the upstream.
    #[must_use]
    pub const fn upstream_name(&self) -> &'a str {
        match self.name {
            Some(name) => name,
            None => self.upstream,
        }
    }
}
