//! `GET slo`: how the service level objectives stand, from Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::openapi::Unauthorized;
use super::time::iso;
use crate::slo::Slo;

/// How the objectives stand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Slos {
    /// When Prometheus was asked.
    timestamp: String,
    slos: Vec<Slo>,
}

/// The last answer and when it was made. Requests that come together share one question.
#[derive(Default)]
pub(crate) struct Cache(tokio::sync::Mutex<Option<(Instant, Slos)>>);

/// How the service level objectives stand over 30 days.
///
/// Answers 200 also while Prometheus (`PROMETHEUS_URL`) does not answer or records nothing: the objectives are then
/// `unknown`, and their messages say what to do.
#[utoipa::path(get, path = "/slo", tag = "metrics", responses(
    (status = 200, body = Slos), (status = 401, response = Unauthorized)))]
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Json<Slos> {
    let mut cached = api.slos.0.lock().await;
    if let Some((made, slos)) = cached.as_ref()
        && made.elapsed() < api.summary_ttl
    {
        return Json(slos.clone());
    }
    let slos = Slos { slos: api.objectives.read().await, timestamp: iso(jiff::Timestamp::now().as_microsecond()) };
    if api.summary_ttl > Duration::ZERO {
        *cached = Some((Instant::now(), slos.clone()));
    }
    Json(slos)
}
