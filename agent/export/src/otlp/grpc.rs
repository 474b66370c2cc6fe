//! OTLP over gRPC.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    Endpoint,
    endpoint::{Metadata, metadata},
    request::{Export, Unsent},
};
use crate::http::client::Tls;

/// Nobody answers what comes on a connection between two requests: after this time another one is
/// opened.
const REUSED_FOR: Duration = Duration::from_secs(5);

/// A client for one thread, which waits in it for each answer.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    metadata: Metadata,
    /// A connection, and when it was used last. (It ends before the runtime.)
    open: Option<(Channel, Instant)>,
    runtime: Runtime,
}

/// What a channel runs on.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    /// A client that is not connected yet.
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, Unsent> {
        let metadata = metadata(endpoint.headers());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start an async runtime for gRPC");
        let made = metadata
            .and_then(|metadata| Ok(Self { metadata, open: None, runtime: runtime?, endpoint }));
        made.map_err(|why| Unsent { is_worth_retrying: false, why })
    }

    /// Calls the method of a request.
    pub(super) fn export<Q: Export>(&mut self, message: &Q) -> Result<(), Unsent> {
        let fresh = self.open.take().filter(|(_, used)| used.elapsed() < REUSED_FOR);
        let mut request = Request::new(message.clone());
        for (key, value) in &self.metadata {
            request.metadata_mut().append(key.clone(), value.clone());
        }
        let endpoint = &self.endpoint;
        let patience = endpoint.timeout();
        let answer = self.runtime.block_on(async {
            let channel = match fresh {
                Some((channel, _)) => channel,
                None => timeout(patience, connect(endpoint))
                    .await
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("no connection in time")))
                    .map_err(|why| Unsent { is_worth_retrying: true, why })?,
            };
            let called = timeout(patience, call(channel.clone(), request)).await;
            called
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
                .map_err(|status| unsent(endpoint, &status))?;
            Ok(channel)
        });
        // One that failed is not used again.
        self.open = Some((answer?, Instant::now()));
        Ok(())
    }
}

async fn connect(endpoint: &Endpoint) -> anyhow::Result<Channel> {
    let host = endpoint.host();
    let stream = TcpStream::connect(host).await.context("connect")?;
    stream.set_nodelay(true).context("send without delay")?;
    let stream: Box<dyn Stream> = match endpoint.tls() {
        None => Box::new(stream),
        Some(Tls { config, server_name }) => {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(server_name.clone(), stream).await;
            Box::new(stream.context("shake hands")?)
        }
    };
    // Encrypted or not, the stream is there; what requests say of themselves is the origin.
    let at = tonic::transport::Endpoint::from_shared(format!("http://{host}"))
        .context("use the address")?;
    let origin: Uri = format!("{}{host}", endpoint.scheme()).parse().context("use the address")?;
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: Uri| {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        std::future::ready(stream.take().ok_or_else(gone))
    });
    at.origin(origin).connect_with_connector(once).await.context("speak HTTP/2")
}

async fn call<Q: Export>(channel: Channel, request: Request<Q>) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Q, Q::Answer>::default();
    client.unary(request, PathAndQuery::from_static(Q::METHOD), codec).await.map(drop)
}

fn unsent(endpoint: &Endpoint, status: &Status) -> Unsent {
    Unsent {
        // OTLP 1.x, "Failures": what may pass. (Quotas only where the collector says when.)
        is_worth_retrying: matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        ),
        why: anyhow::anyhow!("{endpoint:?} answered {:?}: {}", status.code(), status.message()),
    }
}
