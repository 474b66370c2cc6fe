//! What the server answers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Json, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::{
    Hosts, HttpLimits,
    negotiation::{self, Rendered},
};
use crate::{Exporter, events::Message, page::PAGE};
use hopsight_posture::hops::table::Snapshot;

/// Scrapes and hop lists made at the same time; further ones wait for their turn.
const CONCURRENT_RENDERINGS: usize = 2;

/// Time for an answer to be ready, event streams apart.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The page may load nothing from elsewhere, be framed by nobody, and talk to this server only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct App {
    exporter: Exporter,
    renderings: Arc<Semaphore>,
    event_streams: Arc<Semaphore>,
}

/// Where events can be listened to.
pub(super) const EVENTS: &str = "/events";

pub(super) fn router(exporter: Exporter, limits: HttpLimits, hosts: Option<Hosts>) -> Router {
    let app = App {
        exporter,
        renderings: Arc::new(Semaphore::new(CONCURRENT_RENDERINGS)),
        event_streams: Arc::new(Semaphore::new(limits.max_event_streams)),
    };
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/hops", get(hops))
        .route(EVENTS, get(events))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(hosts, guard))
        .with_state(app)
}

/// What may be asked for without a certificate.
pub(super) fn health_router(exporter: Exporter, limits: HttpLimits) -> Router {
    let everything = router(exporter, limits, Some(Hosts::default()));
    everything.layer(middleware::from_fn(async |request: Request, next: Next| {
        match request.uri().path() {
            "/livez" | "/healthz" | "/readyz" => next.run(request).await,
            _ => (StatusCode::NOT_FOUND, "not found; only /livez and /readyz are here\n")
                .into_response(),
        }
    }))
}

/// Refuses what is for somebody else, bounds the time of every request and says how its answer may be
/// used.
pub(super) async fn guard(
    State(hosts): State<Option<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if hosts.is_some_and(|hosts| !hosts.allow(request.uri(), request.headers()))
    {
        let why = "this is not a name of this server; add it to http.hosts if it is\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    } else {
        let busy = (StatusCode::SERVICE_UNAVAILABLE, "busy, try again\n");
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
        answered.unwrap_or_else(|_| busy.into_response())
    };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page() -> Html<&'static str> {
    Html(PAGE)
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found; there are /, /metrics, /hops, /events, /livez, /readyz\n")
}

/// Does what takes long where it holds nobody up, a few at a time.
async fn render<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Exporter) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let turn = app.renderings.clone().acquire_owned().await;
    let exporter = app.exporter.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&exporter)
    });
    done.await.map_err(|error| failed(error.into()))?.map_err(failed)
}

/// What is answered where something of ours went wrong.
#[expect(clippy::needless_pass_by_value, reason = "it is what results are mapped with")]
pub(super) fn failed(error: anyhow::Error) -> Response {
    tracing::error!(error = format!("{error:#}"), "answer an HTTP request");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Rendered, Response> {
    let format = negotiation::text_format(&headers);
    let encoding = negotiation::encoding(&headers);
    render(&app, move |exporter| {
        Rendered::new(format.content_type(), exporter.gather_as(format)?, encoding)
    })
    .await
}

/// Which hops are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HopsQuery {
    /// Only hops reported at or after this time, seconds since the Unix epoch.
    since: Option<f64>,
    /// Only hops of this proxy, as it is labelled.
    proxy: Option<String>,
    /// Only hops to this upstream, as it is labelled.
    upstream: Option<String>,
}

async fn hops(
    State(app): State<App>,
    Query(HopsQuery { since, proxy, upstream }): Query<HopsQuery>,
    headers: HeaderMap,
) -> Result<Rendered, Response> {
    let encoding = negotiation::encoding(&headers);
    render(&app, move |exporter| {
        let mut snapshot: Snapshot = exporter.hops();
        if let Some(since) = since {
            snapshot.hops.retain(|hop| hop.last_seen >= since);
        }
        let is = |wanted: &Option<String>, label: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == label)
        };
        snapshot.hops.retain(|hop| is(&proxy, &hop.proxy) && is(&upstream, &hop.upstream));
        Rendered::new("application/json", serde_json::to_string(&snapshot)?, encoding)
    })
    .await
}

/// Whether the agent runs at all: what a liveness probe asks.
async fn livez(State(app): State<App>) -> (StatusCode, String) {
    match app.exporter.health().stalled() {
        None => (StatusCode::OK, "ok\n".into()),
        Some((thread, silent)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the thread {thread} has not moved for {} s\n", silent.as_secs()),
        ),
    }
}

/// Whether the agent observes: what a readiness probe asks.
async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let readiness = app.exporter.health().readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn events(State(app): State<App>) -> Response {
    let Ok(place) = app.event_streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many event streams, try again later\n")
            .into_response();
    };
    let stream = event_stream(app.exporter.events().listen(), place);
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// Events by their kinds ([`Message::kind`]), and `lagged` ones that say how many were missed.
fn event_stream(
    receiver: broadcast::Receiver<Message>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((receiver, place), |(mut receiver, place)| async {
        let event = match receiver.recv().await {
            Ok(Message { kind, json }) => Event::default().event(kind).data(json),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                Event::default().event("lagged").data(format!(r#"{{"missed":{missed}}}"#))
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, place)))
    })
}
