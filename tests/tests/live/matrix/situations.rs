//! What is configured, and what is to be said of it.

use hopsight_core::model::{
    ClientAuth::{self, NotRequested, Presented, RequestedNotPresented},
    Outcome, Security, ServerVerified,
};
use hopsight_tests::case::{Asks, Case, Expected, Holds, Proxy, Upstream, Verify, Version};

/// What is configured on both sides, and what the client does about client authentication.
#[derive(Clone, Copy)]
pub struct Situation {
    name: &'static str,
    asks: Asks,
    holds: Holds,
    verify: Verify,
    /// Requests whose sessions are resumed after the first; 1: no resumption.
    requests: usize,
    /// Whether the upstream ends the handshake of a client whose certificate it does not accept.
    rejects: bool,
    /// Whether the upstream answers the first ClientHello with a HelloRetryRequest.
    retry: bool,
    client_auth: ClientAuth,
}

const PRESENTED: Situation = Situation {
    name: "presented",
    asks: Asks::Required,
    holds: Holds::Trusted,
    verify: Verify::On,
    requests: 1,
    rejects: false,
    retry: false,
    client_auth: Presented,
};

const REQUESTED_NONE: Situation = Situation {
    name: "requested-none",
    asks: Asks::Optional,
    holds: Holds::Nothing,
    client_auth: RequestedNotPresented,
    ..PRESENTED
};

/// One way, and the client has no certificate.
const ONE_WAY: Situation = Situation {
    name: "one-way",
    asks: Asks::Nothing,
    holds: Holds::Nothing,
    client_auth: NotRequested,
    ..PRESENTED
};

pub const SITUATIONS: [Situation; 10] = [
    // With a certificate, which nobody asks for.
    Situation { name: "not-requested", holds: Holds::Trusted, verify: Verify::Off, ..ONE_WAY },
    REQUESTED_NONE,
    PRESENTED,
    Situation { name: "wrong-ca", verify: Verify::ForeignRoot, ..ONE_WAY },
    Situation { name: "wrong-name", verify: Verify::OtherName, ..ONE_WAY },
    Situation { name: "resumed", requests: 3, ..PRESENTED },
    Situation { name: "rejected-none", rejects: true, ..REQUESTED_NONE },
    Situation { name: "rejected-foreign", rejects: true, holds: Holds::Foreign, ..PRESENTED },
    Situation { name: "retry-none", retry: true, ..REQUESTED_NONE },
    Situation { name: "retry-presented", retry: true, ..PRESENTED },
];

/// How a client takes leave of an upstream whose certificate it does not accept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It accepts it, or does not look.
    Stays,
    /// Its library ends the handshake with an alert.
    InHandshake,
    /// It ends the connection during the handshake, without an alert.
    Silently,
    /// The application looks when the handshake is over, by functions of OpenSSL.
    Afterwards,
    /// The application looks when the handshake is over, by code of its own: nobody sees what it
    /// decides.
    Unseen,
}

pub fn leaves(proxy: Proxy, verify: Verify) -> Leaves {
    match (verify, proxy) {
        (Verify::Off | Verify::On, _) => Leaves::Stays,
        (_, Proxy::Nginx) => Leaves::Afterwards,
        (Verify::OtherName, Proxy::Curl | Proxy::Grpc) | (_, Proxy::Node) => Leaves::Unseen,
        (Verify::ForeignRoot, Proxy::Grpc) => Leaves::Silently,
        _ => Leaves::InHandshake,
    }
}

/// Whether the result of the client's verification is seen: gRPC is built by a compiler that hides
/// the place, and that of rustls is not looked for.
pub const fn shows_verification(proxy: Proxy) -> bool {
    !matches!(proxy, Proxy::Grpc | Proxy::Rustls)
}

pub fn server_verified(
    proxy: Proxy,
    verify: Verify,
    version: Version,
    rejects: bool,
) -> ServerVerified {
    match (proxy, verify) {
        // An alert up to TLS 1.2 is in the clear.
        (Proxy::Rustls, Verify::ForeignRoot | Verify::OtherName) if version == Version::V12 => {
            ServerVerified::No
        }
        // It looks when the handshake is over, which here it never is.
        (Proxy::Nginx, Verify::On) if rejects && version == Version::V12 => ServerVerified::Unknown,
        // Nothing is seen of the first two. Node looks at OpenSSL's result by code of its own, and
        // haproxy's callback might overrule OpenSSL: that they would refuse a bad certificate is
        // seen only when they do.
        (Proxy::Grpc | Proxy::Rustls, _)
        | (Proxy::Node, Verify::On | Verify::OtherName)
        | (Proxy::Haproxy, Verify::On) => ServerVerified::Unknown,
        // It then sends `handshake_failure`, which may have another cause; in TLS 1.3 the result
        // of the verification is seen too.
        (Proxy::Haproxy, Verify::OtherName) if version == Version::V12 => ServerVerified::Unknown,
        // The chain was verified, and the library would have refused another.
        (Proxy::Curl, Verify::OtherName) | (_, Verify::On) => ServerVerified::Yes,
        _ => ServerVerified::No,
    }
}

/// The client's word in the names of cases.
pub fn word(proxy: Proxy) -> String {
    format!("{proxy:?}").to_lowercase()
}

/// The case, where the client can be brought into the situation.
pub fn case(version: Version, proxy: Proxy, situation: &Situation) -> Option<Case> {
    let Situation { name, asks, holds, mut verify, requests, rejects, retry, client_auth } =
        *situation;
    if matches!(proxy, Proxy::Grpc | Proxy::Rustls) && verify == Verify::Off {
        // They have no other way.
        verify = Verify::On;
    }
    let is_possible = match proxy {
        // They are told no name to check.
        Proxy::Envoy | Proxy::PyOpenSsl if verify == Verify::OtherName => false,
        // They keep no sessions.
        Proxy::Caddy | Proxy::Grpc | Proxy::Rustls if requests > 1 => false,
        _ => !retry || version == Version::V13,
    };
    if !is_possible {
        return None;
    }
    let version_name = match version {
        Version::V12 => "tls12",
        Version::V13 => "tls13",
    };
    // Cases live as long as the program.
    let name: &'static str = format!("{version_name}-{}-{name}", word(proxy)).leak();
    let client_auth = match (proxy, holds) {
        // Go keeps a certificate to itself whose issuer the server does not name.
        (Proxy::Caddy, Holds::Foreign) => RequestedNotPresented,
        _ => client_auth,
    };
    let (expected, status) = expected(version, proxy, verify, client_auth, rejects);
    let upstream =
        if rejects { Upstream::Haproxy(version) } else { Upstream::Nginx(version, asks) };
    let case = Case::new(name, proxy, upstream, holds);
    Some(Case { verify, reuse: requests > 1, requests, retry, status, expected, ..case })
}

/// What is to be said, and the HTTP status that the proxy's client gets.
fn expected(
    version: Version,
    proxy: Proxy,
    verify: Verify,
    client_auth: ClientAuth,
    rejects: bool,
) -> (Expected, u16) {
    let security = match client_auth {
        Presented => Security::Mtls,
        _ => Security::Tls,
    };
    let known = Expected { security, client_auth, outcome: Outcome::Established };
    // Of an upstream that cannot be reached by TLS.
    let error = match proxy {
        Proxy::Haproxy | Proxy::Envoy => 503,
        Proxy::Nginx | Proxy::Caddy => 502,
        _ => 0,
    };
    if rejects {
        return (Expected { outcome: Outcome::Rejected, ..known }, error);
    }
    match leaves(proxy, verify) {
        Leaves::Stays => (known, 200),
        Leaves::Unseen => (known, 0),
        Leaves::Afterwards => (Expected { outcome: Outcome::Failed, ..known }, error),
        // What was said up to there is in the clear.
        Leaves::Silently if version == Version::V12 => {
            (Expected { outcome: Outcome::Incomplete, ..known }, error)
        }
        leaves => {
            let (security, client_auth) = (Security::Unknown, ClientAuth::Unknown);
            let outcome = match leaves {
                Leaves::Silently => Outcome::Incomplete,
                _ => Outcome::Failed,
            };
            (Expected { security, client_auth, outcome }, error)
        }
    }
}
