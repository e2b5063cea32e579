//! `/live`, `/ready`, `/health` and `/metrics`. Liveness asks whether the process turns, never for a dependency: an
//! outage of Redis restarts nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use prometheus::Registry;
use serde_json::{Map, Value, json};

use crate::telemetry::{VERSION, exposition};

/// A main loop that has not turned for this long is stuck.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

/// What a role says of itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    service: &'static str,
    started: Instant,
    /// Milliseconds after `started` of the main loop's last turn; `u64::MAX` while none is watched.
    turned: AtomicU64,
    ready: AtomicBool,
    dependencies: Mutex<Vec<Dependency>>,
}

/// Something the role cannot work without.
#[derive(Clone)]
pub(crate) struct Dependency(Arc<DependencyState>);

struct DependencyState {
    name: &'static str,
    /// `None` = connected.
    trouble: Mutex<Option<String>>,
}

impl Dependency {
    /// It answers.
    pub(crate) fn up(&self) {
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.take().is_some() {
            tracing::info!(dependency = self.0.name, "connected");
        }
    }

    /// It does not answer; logged once per change of reason.
    #[allow(clippy::needless_pass_by_value, reason = "callers give texts and errors; a reference would only add `&`")]
    pub(crate) fn down(&self, reason: impl ToString) {
        let reason = reason.to_string();
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&reason) {
            tracing::warn!(dependency = self.0.name, reason, "not available; trying again");
            *trouble = Some(reason);
        }
    }

    /// Whether it answered last.
    pub(crate) fn is_up(&self) -> bool {
        self.trouble().is_none()
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Health {
    /// Not ready until [`Health::set_ready`] and until every dependency is up.
    pub(crate) fn new(service: &'static str) -> Self {
        Self(Arc::new(Inner {
            service,
            started: Instant::now(),
            turned: AtomicU64::new(u64::MAX),
            ready: AtomicBool::new(false),
            dependencies: Mutex::new(Vec::new()),
        }))
    }

    /// Adds a dependency, down until it is said to be up.
    pub(crate) fn dependency(&self, name: &'static str) -> Dependency {
        let trouble = Mutex::new(Some("not connected yet".to_owned()));
        let dependency = Dependency(Arc::new(DependencyState { name, trouble }));
        self.0.dependencies.lock().unwrap_or_else(PoisonError::into_inner).push(dependency.clone());
        dependency
    }

    /// Whether the role itself, apart from its dependencies, can do its work.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// The main loop turns; call it at least every few seconds once called.
    pub(crate) fn turn(&self) {
        self.0.turned.store(self.0.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the main loop turned; zero while it is not watched.
    pub(crate) fn since_turn(&self) -> Duration {
        match self.0.turned.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            turned => self.0.started.elapsed().saturating_sub(Duration::from_millis(turned)),
        }
    }

    /// `/live`.
    pub(crate) fn live(&self) -> (StatusCode, Value) {
        let since = self.since_turn();
        if since > TURN_TIMEOUT {
            let error = format!("the main loop has not turned for {} s", since.as_secs());
            return (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "stuck", "error": error}));
        }
        (StatusCode::OK, json!({"status": "alive"}))
    }

    /// `/ready`.
    pub(crate) fn ready(&self) -> (StatusCode, Value) {
        let troubles = self.troubles();
        if troubles.is_empty() && self.0.ready.load(Ordering::Relaxed) {
            return (StatusCode::OK, json!({"status": "ready"}));
        }
        let error = if troubles.is_empty() { "starting or draining".to_owned() } else { troubles.join("; ") };
        (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "not ready", "error": error}))
    }

    /// `/health`: status, version and every dependency.
    pub(crate) fn health(&self) -> (StatusCode, Value) {
        let troubles = self.troubles();
        let healthy = troubles.is_empty();
        let mut body = Map::new();
        body.insert("status".into(), if healthy { "healthy" } else { "unhealthy" }.into());
        body.insert("service".into(), self.0.service.into());
        body.insert("version".into(), VERSION.into());
        for dependency in self.0.dependencies.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let state = if dependency.is_up() { "connected" } else { "disconnected" };
            body.insert(dependency.0.name.into(), state.into());
        }
        if !healthy {
            body.insert("error".into(), troubles.join("; ").into());
        }
        (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Value::Object(body))
    }

    fn troubles(&self) -> Vec<String> {
        let dependencies = self.0.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        dependencies.iter().filter_map(|d| Some(format!("{}: {}", d.0.name, d.trouble()?))).collect()
    }
}

/// `/live`, `/ready`, `/health`; `/` names them.
pub(crate) fn health_router(health: &Health) -> Router {
    let answer = |read: fn(&Health) -> (StatusCode, Value)| {
        let health = health.clone();
        get(move || async move {
            let (status, body) = read(&health);
            (status, Json(body))
        })
    };
    let service = health.0.service;
    Router::new()
        .route("/live", answer(Health::live))
        .route("/ready", answer(Health::ready))
        .route("/health", answer(Health::health))
        .route("/", get(move || async move { format!("{service} {VERSION}: /live /ready /health\n") }))
}

/// `/metrics`.
pub(crate) fn metrics_router(registry: &Registry) -> Router {
    let registry = registry.clone();
    Router::new().route(
        "/metrics",
        get(move || async move {
            let text = exposition(&registry);
            ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_the_role_and_every_dependency_but_live_needs_none() {
        let health = Health::new("mutt-test");
        let redis = health.dependency("redis");
        health.set_ready(true);
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.live().0, StatusCode::OK);
        let (status, body) = health.health();
        assert_eq!((status, body["redis"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("disconnected")));
        redis.up();
        assert_eq!(health.ready().0, StatusCode::OK);
        assert_eq!(health.health().1["status"], "healthy");
        redis.down("connection refused");
        let (status, body) = health.health();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body["error"].as_str().unwrap().contains("redis: connection refused"));
    }
}
