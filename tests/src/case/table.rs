//! The table of hops.

use super::{
    Asks, Case,
    ClientAuth::{self, NotRequested, Presented, RequestedNotPresented},
    Holds,
    Outcome::{Established, Failed, Rejected},
    Proxy,
    Security::{self, Mtls, Tls},
    Upstream, Verify, Version,
};

/// Every hop of the demo and of the live tests.
pub const ALL: &[Case] = {
    use Asks::{Nothing as NoRequest, Optional, Required};
    use Holds::{Foreign, Nothing, Trusted};
    use Proxy::{Caddy, Curl, Envoy, Haproxy, Nginx, NginxStream, Rustls};
    use Upstream::{Expired, Haproxy as Strict, Http1, Http2, Nginx as Server};
    use Verify::{ForeignRoot, On};
    use Version::{V12, V13};
    &[
        Case::new("http", Nginx, Http1, Nothing),
        Case::new("grpc", Nginx, Http2, Nothing),
        Case::new("stream", NginxStream, Http1, Nothing),
        Case::new("haproxy", Haproxy, Http1, Nothing),
        Case::new("envoy", Envoy, Http1, Nothing),
        Case::new("caddy", Caddy, Http1, Nothing),
        Case::new("tls12", Nginx, Server(V12, NoRequest), Nothing).is(
            Tls,
            NotRequested,
            Established,
        ),
        Case::new("tls12-unasked", Nginx, Server(V12, NoRequest), Trusted).is(
            Tls,
            NotRequested,
            Established,
        ),
        Case::new("tls12-optional", Nginx, Server(V12, Optional), Nothing).is(
            Tls,
            RequestedNotPresented,
            Established,
        ),
        Case::new("tls12-400", Nginx, Server(V12, Required), Nothing)
            .is(Tls, RequestedNotPresented, Established)
            .status(400),
        Case::new("mtls12", Nginx, Server(V12, Required), Trusted).is(Mtls, Presented, Established),
        Case::new("mtls12-stream", NginxStream, Server(V12, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("mtls12-haproxy", Haproxy, Server(V12, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("mtls12-envoy", Envoy, Server(V12, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("mtls12-caddy", Caddy, Server(V12, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls12-verified", Nginx, Server(V12, NoRequest), Nothing)
            .is(Tls, NotRequested, Established)
            .verify(On),
        Case::new("tls12-wrong-root", Nginx, Server(V12, NoRequest), Nothing)
            .is(Tls, NotRequested, Failed)
            .verify(ForeignRoot)
            .status(502),
        Case::new("tls12-haproxy-wrong-root", Haproxy, Server(V12, NoRequest), Nothing)
            .is(Security::Unknown, ClientAuth::Unknown, Failed)
            .verify(ForeignRoot)
            .status(503),
        Case::new("tls12-expired", Nginx, Expired(V12), Nothing).is(Tls, NotRequested, Established),
        Case::new("tls12-reuse", Nginx, Server(V12, NoRequest), Nothing)
            .is(Tls, NotRequested, Established)
            .reuse(4),
        Case::new("mtls12-reuse", Nginx, Server(V12, Required), Trusted)
            .is(Mtls, Presented, Established)
            .reuse(4),
        Case::new("tls12-no-cert", Nginx, Strict(V12), Nothing)
            .is(Tls, RequestedNotPresented, Rejected)
            .status(502),
        Case::new("mtls12-foreign", Nginx, Strict(V12), Foreign)
            .is(Mtls, Presented, Rejected)
            .status(502),
        Case::new("tls13", Nginx, Server(V13, NoRequest), Nothing).is(
            Tls,
            NotRequested,
            Established,
        ),
        Case::new("tls13-optional", Nginx, Server(V13, Optional), Nothing).is(
            Tls,
            RequestedNotPresented,
            Established,
        ),
        Case::new("mtls13", Nginx, Server(V13, Required), Trusted).is(Mtls, Presented, Established),
        Case::new("mtls13-stream", NginxStream, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("mtls13-haproxy", Haproxy, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls13-envoy", Envoy, Server(V13, NoRequest), Nothing)
            .is(Tls, NotRequested, Established)
            .verify(On),
        Case::new("tls13-envoy-optional", Envoy, Server(V13, Optional), Nothing).is(
            Tls,
            RequestedNotPresented,
            Established,
        ),
        Case::new("mtls13-envoy", Envoy, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls13-caddy", Caddy, Server(V13, NoRequest), Nothing)
            .is(Tls, NotRequested, Established)
            .verify(On),
        Case::new("tls13-caddy-optional", Caddy, Server(V13, Optional), Nothing).is(
            Tls,
            RequestedNotPresented,
            Established,
        ),
        Case::new("mtls13-caddy", Caddy, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls13-curl", Curl, Server(V13, NoRequest), Nothing).is(
            Tls,
            NotRequested,
            Established,
        ),
        Case::new("mtls13-curl", Curl, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls13-curl-wrong-root", Curl, Server(V13, NoRequest), Nothing)
            .is(Security::Unknown, ClientAuth::Unknown, Failed)
            .verify(ForeignRoot)
            .status(0),
        Case::new("tls13-rustls", Rustls, Server(V13, NoRequest), Nothing).is(
            Tls,
            NotRequested,
            Established,
        ),
        Case::new("tls13-rustls-optional", Rustls, Server(V13, Optional), Nothing).is(
            Tls,
            RequestedNotPresented,
            Established,
        ),
        Case::new("mtls13-rustls", Rustls, Server(V13, Required), Trusted).is(
            Mtls,
            Presented,
            Established,
        ),
        Case::new("tls13-reuse", Nginx, Server(V13, NoRequest), Nothing)
            .is(Tls, NotRequested, Established)
            .reuse(4),
        Case::new("mtls13-reuse", Nginx, Server(V13, Required), Trusted)
            .is(Mtls, Presented, Established)
            .reuse(4),
        Case::new("tls13-retry", Nginx, Server(V13, Optional), Nothing)
            .is(Tls, RequestedNotPresented, Established)
            .retry(),
        Case::new("mtls13-retry", Nginx, Server(V13, Required), Trusted)
            .is(Mtls, Presented, Established)
            .retry(),
        Case::new("mtls13-caddy-retry", Caddy, Server(V13, Required), Trusted)
            .is(Mtls, Presented, Established)
            .retry(),
        Case::new("tls13-no-cert", Nginx, Strict(V13), Nothing)
            .is(Tls, RequestedNotPresented, Rejected)
            .status(502),
        Case::new("mtls13-foreign", Nginx, Strict(V13), Foreign)
            .is(Mtls, Presented, Rejected)
            .status(502),
    ]
};

/// Hops whose connections stay open between requests.
pub const KEEPALIVE: &[Case] = &[
    Case::new("http-keepalive", Proxy::Nginx, Upstream::Http1, Holds::Nothing).keepalive(),
    Case::new(
        "mtls12-keepalive",
        Proxy::Nginx,
        Upstream::Nginx(Version::V12, Asks::Required),
        Holds::Trusted,
    )
    .is(Mtls, Presented, Established)
    .keepalive(),
    Case::new(
        "mtls13-keepalive",
        Proxy::Nginx,
        Upstream::Nginx(Version::V13, Asks::Required),
        Holds::Trusted,
    )
    .is(Mtls, Presented, Established)
    .keepalive(),
];
