//! `/scaling/<namespace>/<pipeline>` on the port of health and metrics: the queues for KEDA's `metrics-api` scaler, which
//! needs no password of Redis then. Nothing in it is a secret.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use super::{
    queues::{Queues, QueuesError, Reading},
    series::age,
};

/// The route; `queues` answers it.
pub(crate) fn router(queues: Queues) -> Router {
    Router::new().route("/scaling/{namespace}/{pipeline}", get(scaling)).with_state(queues)
}

async fn scaling(State(queues): State<Queues>, Path((namespace, pipeline)): Path<(String, String)>) -> Response {
    match queues.read(&namespace, &pipeline).await {
        Ok(reading) => {
            Json(json!({"ingest": told(&reading, "ingest"), "alert": told(&reading, "alert")})).into_response()
        }
        Err(error) => {
            let (code, words) = refusal(&error);
            (code, Json(json!({"error": words}))).into_response()
        }
    }
}

/// Nobody is asked here who they are, so why Redis cannot be read (its address, names of Secrets) is not told.
fn refusal(error: &QueuesError) -> (StatusCode, String) {
    match error {
        QueuesError::Unknown(_) | QueuesError::Unwatched(_) => (StatusCode::NOT_FOUND, error.to_string()),
        QueuesError::Unlisted(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the MuttPipelines have not been listed yet".to_owned())
        }
        QueuesError::Away { pipeline, .. } => {
            let words = format!("the queues of pipeline {pipeline} cannot be read; the operator's log says why");
            (StatusCode::SERVICE_UNAVAILABLE, words)
        }
    }
}

/// The age is that of the oldest element that waits; `null` if it does not say when it came.
fn told(reading: &Reading, name: &str) -> Value {
    let in_state = |state: &str| reading.queues.iter().find(|queue| queue.queue == name && queue.state == state);
    let depth = |state: &str| in_state(state).map_or(0, |queue| queue.depth);
    let (waiting, processing) = (depth("waiting"), depth("processing"));
    let oldest_age = in_state("waiting").and_then(age).map(|age| age.as_millis() as f64 / 1_000.0);
    json!({"depth": waiting + processing, "waiting": waiting, "processing": processing, "oldestAgeSeconds": oldest_age})
}
