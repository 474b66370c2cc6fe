//! The agent's HTTP server: metrics, health, hops, events and the page.
//!
//! It listens for scrapers, which are trusted with the data but not with the agent's memory and
//! time: headers are bounded in size and time, connections and event streams in number, whoever
//! waits for nothing gives way to who has just come, and a peer that stops reading is dropped by the
//! kernel.
//!
//! Whoever reaches the address reads everything, unless [`tls`] asks clients for a certificate. The
//! liveness and readiness probes of an orchestrator have none: they get a listener of their own.

pub mod client;
mod fleet;
mod host;
mod negotiation;
pub mod pem;
mod places;
mod routes;
#[cfg(test)]
mod tests;
pub mod tls;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

pub use self::host::Hosts;
use self::{
    places::{Answering, Place, Places},
    tls::Tls,
};

use super::{Exporter, fleet::Fleet};

/// Where the server listens unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// Bounds of the HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Connections at the same time. Further ones take the place of those that wait for nothing, or
    /// whose answer takes long; where there is none, they wait in the listen queue.
    pub max_connections: usize,
    /// Of these, event streams; further ones are answered 503.
    pub max_event_streams: usize,
    /// Seconds for the header of a request to arrive, and for an idle connection to send one.
    pub header_timeout_seconds: u64,
    /// Seconds until a peer that does not read its answer is dropped.
    pub write_timeout_seconds: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_event_streams: 16,
            header_timeout_seconds: 5,
            write_timeout_seconds: 30,
        }
    }
}

impl HttpLimits {
    fn header_timeout(self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds.max(1))
    }
}

/// Most bytes of request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Most header fields of one request.
const MAX_HEADERS: usize = 64;

/// Reserves the address.
///
/// # Errors
/// When the address is taken or not this machine's, with what to do about it.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "address already in use: {address} (is another hopsight running?); \
             choose another with --http ADDRESS:PORT"
        ),
        io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "address not available: {address} belongs to no interface of this machine; \
             choose another with --http ADDRESS:PORT"
        ),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE; \
             choose another than {address} with --http ADDRESS:PORT"
        ),
        _ => anyhow::Error::new(error).context(format!("listen on {address}")),
    })?;
    listener.set_nonblocking(true).with_context(|| format!("listen on {address}"))?;
    Ok(listener)
}

/// Serves `exporter` on `listener` until `stop` is ready; open connections end with it. Requests for
/// names other than `hosts` that may be somebody else's are refused.
///
/// # Errors
/// When the listener cannot be used. Errors of single connections are logged only.
pub async fn serve(
    listener: TcpListener,
    exporter: Exporter,
    limits: HttpLimits,
    hosts: Hosts,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    answer(listener, routes::router(exporter, limits, Some(hosts)), None, limits, stop).await
}

/// As [`serve`], over TLS, whose certificate has the names: a browser asks for no others. Certificates are read again when their files change; what cannot be used
/// leaves the old ones in place, and `/readyz` says so.
///
/// # Errors
/// As [`serve`].
pub async fn serve_tls(
    listener: TcpListener,
    tls: Arc<Tls>,
    exporter: Exporter,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let router = routes::router(exporter.clone(), limits, None);
    tokio::select! {
        () = tls.follow_files(exporter.health()) => Ok(()),
        served = answer(listener, router, Some(tls.clone()), limits, stop) => served,
    }
}

/// Serves a fleet as [`serve`] and [`serve_tls`] serve an agent.
///
/// # Errors
/// As [`serve`].
pub async fn serve_fleet(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    fleet: Arc<Fleet>,
    limits: HttpLimits,
    hosts: Hosts,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Some(tls) = tls else {
        let router = fleet::router(fleet, Some(hosts));
        return answer(listener, router, None, limits, stop).await;
    };
    let router = fleet::router(Arc::clone(&fleet), None);
    tokio::select! {
        () = tls.follow_files(fleet.health()) => Ok(()),
        served = answer(listener, router, Some(tls.clone()), limits, stop) => served,
    }
}

/// Serves `/livez` and `/readyz` only, which say nothing about hops.
///
/// # Errors
/// As [`serve`].
pub async fn serve_health(
    listener: TcpListener,
    exporter: Exporter,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    answer(listener, routes::health_router(exporter, limits), None, limits, stop).await
}

async fn answer(
    listener: TcpListener,
    router: axum::Router,
    tls: Option<Arc<Tls>>,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::from_std(listener).context("hand the listener to the runtime")?;
    let service = TowerToHyperService::new(router);
    let places = Places::new(limits.max_connections);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        // While there is no place for one, the others wait in the kernel's queue.
        let accept = async {
            let (stream, from) = listener.accept().await?;
            io::Result::Ok((stream, places.enter(from.ip()).await))
        };
        let mut accept = std::pin::pin!(accept);
        let accepted = loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = &mut accept => break accepted,
            }
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept an HTTP connection");
                // A lack of file descriptors, for one, does not pass at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = service.clone();
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        connections.spawn(async move {
            let served = async {
                bound_writes(&stream, limits)?;
                let Some(acceptor) = acceptor else {
                    return serve_connection(stream, service, &place, limits).await;
                };
                let handshake =
                    tokio::time::timeout(limits.header_timeout(), acceptor.accept(stream));
                let stream = handshake.await.context("wait for the TLS handshake")?;
                serve_connection(stream.context("shake hands")?, service, &place, limits).await
            };
            let served = tokio::select! {
                served = served => served,
                () = place.given_away() => Err(anyhow::anyhow!("its place was given away")),
            };
            if let Err(error) = served {
                tracing::debug!(error = format!("{error:#}"), "HTTP connection");
            }
        });
    }
}

fn bound_writes(stream: &TcpStream, limits: HttpLimits) -> anyhow::Result<()> {
    let write_timeout = limits.write_timeout_seconds.saturating_mul(1000);
    rustix::net::sockopt::set_tcp_user_timeout(stream, write_timeout)
        .context("set TCP_USER_TIMEOUT")
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: TowerToHyperService<axum::Router>,
    place: &Place,
    limits: HttpLimits,
) -> anyhow::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let answering = place.seat().answer(request.uri().path() == routes::EVENTS);
        let response = service.call(request);
        async move {
            Ok::<_, std::convert::Infallible>(
                response.await?.map(|body| Answer { body, _answering: answering }),
            )
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .context("serve a connection")
}

/// The body of an answer, which is over when it was sent.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
