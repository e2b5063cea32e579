//! `/live`, `/ready`, `/metrics` and, for KEDA, `/scaling/…`, served by leader and standby alike.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{Context, Fatal, health::Health, metrics::Metrics, telemetry::VERSION};
use crate::external_metrics::scaling;

/// Open connections; kubelet, Prometheus and KEDA need a handful, more wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// From the first byte of a request to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on a port of all addresses, IPv6 and IPv4 where the machine has both.
pub async fn bind(port: u16) -> Result<TcpListener, Fatal> {
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(|source| Fatal::Listen { port, source })
}

/// Serves until it is dropped; probes that are open then are cut.
pub async fn serve(listener: TcpListener, context: Arc<Context>) -> Result<(), Infallible> {
    let router = router(context.health.clone(), context.metrics.clone());
    let router = router.merge(scaling::router(context.queues.clone()));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = accept(&listener, &slots).await;
        while connections.try_join_next().is_some() {}
        let Some((slot, stream)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let _slot = slot;
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
}

/// The next connection with its slot; `None` = there was none.
pub(crate) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((slot, stream)),
        Err(error) => {
            // Out of file descriptors, mostly: waiting lets some close.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    let answer = |outcome: Result<(), String>, good: &'static str, bad: &'static str| match outcome {
        Ok(()) => (StatusCode::OK, Json(json!({"status": good}))),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": bad, "error": error}))),
    };
    Router::new()
        .route("/live", get(move |State(health): State<Health>| async move { answer(health.live(), "alive", "stuck") }))
        .route(
            "/ready",
            get(move |State(health): State<Health>| async move { answer(health.ready(), "ready", "not ready") }),
        )
        .route(
            "/metrics",
            get(move |State(health): State<Health>| async move {
                let text = metrics.exposition(health.progress().into_iter());
                ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
            }),
        )
        .route(
            "/",
            get(|| async {
                format!("mutt-operator {VERSION}: /live /ready /metrics /scaling/<namespace>/<pipeline>\n")
            }),
        )
        .with_state(health)
}
