//! The HTTP server and what ends it.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{RunOptions, deadline::Deadline, hang_up};
use hopsight_export::{
    Exporter,
    http::{self, Hosts, HttpLimits, tls::Tls},
};

/// What listens.
pub struct Server {
    listener: TcpListener,
    health: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    limits: HttpLimits,
    hosts: Hosts,
}

impl Server {
    /// Listens at the addresses of `options`, with its certificates.
    ///
    /// # Errors
    /// If an address is taken or a certificate cannot be used.
    pub fn bind(options: &RunOptions) -> anyhow::Result<Self> {
        Ok(Self {
            listener: http::bind(options.http)?,
            health: options.health.map(http::bind).transpose()?,
            tls: Tls::load(&options.tls)?.map(Arc::new),
            limits: options.http_limits,
            hosts: options.http_hosts.iter().collect(),
        })
    }

    /// Directories whose files are read again when they change.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.tls.as_ref().map(|tls| tls.directories()).unwrap_or_default()
    }

    /// Answers until SIGTERM or SIGINT, or until `broken` says that the pipeline has ended; then the
    /// time to the `deadline` runs. Calls `renew` at each SIGHUP, which was held back till then. The
    /// service manager is told what happens (sd_notify(3)).
    ///
    /// # Errors
    /// If no further thread can be had, or the listener fails.
    pub fn run(
        self,
        exporter: &Exporter,
        broken: oneshot::Receiver<()>,
        deadline: &Deadline,
        renew: impl Fn(),
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("http")
            .enable_all()
            .build()
            .context("start the async runtime")?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
            let mut hung_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
            hang_up::let_through();
            let mut broken = broken;
            let stopped = async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                        _ = &mut broken => break,
                        _ = hung_up.recv() => renew(),
                    }
                }
                tell_service_manager(NotifyState::Stopping);
                deadline.begin();
            };
            let address = self.listener.local_addr().context("ask for our own address")?;
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            tracing::info!(
                "the page is at {scheme}://{address}/, metrics at /metrics, hops at /hops"
            );
            tell_service_manager(NotifyState::Ready);
            self.serve(exporter, stopped).await
        })
    }

    async fn serve(
        self,
        exporter: &Exporter,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { listener, health, tls, limits, hosts } = self;
        let health = async {
            match health {
                None => std::future::pending().await,
                Some(listener) => {
                    let forever = std::future::pending();
                    http::serve_health(listener, exporter.clone(), limits, forever).await
                }
            }
        };
        let everything = async {
            match tls {
                None => http::serve(listener, exporter.clone(), limits, hosts, stop).await,
                Some(tls) => http::serve_tls(listener, tls, exporter.clone(), limits, stop).await,
            }
        };
        tokio::select! {
            served = everything => served,
            served = health => served,
        }
    }
}

/// Where the agent was started by a service manager that wants to know.
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot tell the service manager how the agent is");
    }
}
