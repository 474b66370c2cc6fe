//! What the server of a fleet answers: the same page, `/hops`, and `/hop`, which asks the agents.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::{Html, IntoResponse, Json, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    Hosts,
    negotiation::{self, Rendered},
    routes::{EVENTS, failed, guard},
};
use crate::{fleet::Fleet, page::PAGE};

/// Answers about single hops, and lists of hops, made at the same time.
const CONCURRENT: usize = 4;

#[derive(Clone)]
struct App {
    fleet: Arc<Fleet>,
    turns: Arc<Semaphore>,
}

pub(super) fn router(fleet: Arc<Fleet>, hosts: Option<Hosts>) -> Router {
    let app = App { fleet, turns: Arc::new(Semaphore::new(CONCURRENT)) };
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/livez", get(async || "ok\n"))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/hops", get(hops))
        .route("/hop", get(hop))
        // There are none: the page asks every few seconds.
        .route(EVENTS, get(async || StatusCode::NO_CONTENT))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(hosts, guard))
        .with_state(app)
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found; there are /, /hops, /hop, /livez, /readyz\n")
}

/// Whether everything that has to be known is known: what a gate asks, not a probe.
async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let readiness = app.fleet.health().readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Does what takes long where it holds nobody up, a few at a time.
async fn apart<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Fleet) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let turn = app.turns.clone().acquire_owned().await;
    let fleet = Arc::clone(&app.fleet);
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&fleet)
    });
    done.await
        .map_err(|error| failed(error.into()))?
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response())
}

async fn hops(State(app): State<App>, headers: HeaderMap) -> Result<Rendered, Response> {
    let encoding = negotiation::encoding(&headers);
    apart(&app, move |fleet| {
        let snapshot = fleet.snapshot().ok_or_else(|| {
            anyhow::anyhow!("Prometheus has not answered for two minutes; see /readyz")
        })?;
        Rendered::new("application/json", serde_json::to_string(&*snapshot)?, encoding)
    })
    .await
}

/// Which hop is asked for, as `/hops` labels it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HopQuery {
    proxy: String,
    upstream: String,
}

async fn hop(
    State(app): State<App>,
    Query(HopQuery { proxy, upstream }): Query<HopQuery>,
    headers: HeaderMap,
) -> Result<Rendered, Response> {
    let encoding = negotiation::encoding(&headers);
    apart(&app, move |fleet| {
        let detail = fleet.detail(&proxy, &upstream)?;
        Rendered::new("application/json", serde_json::to_string(&detail)?, encoding)
    })
    .await
}
