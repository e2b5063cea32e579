//! The Web UI role: the JSON API of rules, audit, hosts, teams and settings (CONTRACT section 8).
//!
//! `routes` is the map of the API, `gate` what every request passes, the other modules one kind of thing each.

mod about;
mod audit_logs;
mod caller;
mod config;
mod config_audit;
mod elsewhere;
mod error;
mod hosts;
mod input;
mod metrics;
mod openapi;
mod paging;
mod routes;
mod rule_input;
mod rule_view;
mod rules;
mod slo;
mod summary;
mod teams;
#[cfg(test)]
mod tests;
mod time;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mutt_queue::{Keys, Redis};
use mutt_secrets::{SecretName, Secrets};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::server::{Dependency, Health, Limits, Tls, bind, serve_router};
use crate::settings::{RulesSource, WebUiSettings};
use crate::slo::Objectives;
use crate::worker::{Context, Fatal, Shutdown};
use crate::{connect, rulesource};
use error::ApiError;
use metrics::Metrics;

/// How long an answer waits for its change to be announced. The alerters see it within a second anyway.
const ANNOUNCE_TIME_MAX: Duration = Duration::from_secs(2);
/// Of the shutdown's time, kept for what is left to do after the last connection.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How often Redis and PostgreSQL are asked whether they are there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A probe that takes longer has failed.
const PROBE_TIME_MAX: Duration = Duration::from_secs(3);

/// What the handlers share.
pub(crate) struct Api {
    pool: PgPool,
    read_pool: Option<PgPool>,
    redis: Redis,
    keys: Arc<Keys>,
    secrets: Secrets,
    rules_source: RulesSource,
    /// Rows of a page if the client does not say.
    audit_page_size: i64,
    /// How old a summary and the objectives may be.
    summary_ttl: Duration,
    summary: summary::Cache,
    objectives: Objectives,
    slos: slo::Cache,
    metrics: Metrics,
    health: Health,
    announcing: tokio::sync::Mutex<()>,
    config_lock: tokio::sync::Mutex<()>,
}

impl Api {
    fn new(settings: &WebUiSettings, context: &Context) -> Result<Self, Fatal> {
        let pool = |database| connect::postgres(database, &context.secrets, &context.shutdown);
        Ok(Self {
            pool: pool(&settings.database),
            read_pool: settings.read_database.as_ref().map(pool),
            redis: Redis::new(connect::redis(&settings.redis, &context.secrets)),
            keys: connect::keys(&settings.redis),
            secrets: context.secrets.clone(),
            rules_source: settings.rules_source.clone(),
            audit_page_size: i64::from(settings.page_size),
            summary_ttl: settings.metrics_cache_ttl,
            summary: summary::Cache::default(),
            objectives: Objectives::new(&settings.slo)?,
            slos: slo::Cache::default(),
            metrics: Metrics::new(&context.registry)?,
            health: Health::new("mutt-webui"),
            announcing: tokio::sync::Mutex::default(),
            config_lock: tokio::sync::Mutex::default(),
        })
    }

    /// PostgreSQL, for changes and for what must be current.
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// PostgreSQL, for searches: the replica if there is one.
    fn read_pool(&self) -> &PgPool {
        self.read_pool.as_ref().unwrap_or(&self.pool)
    }

    /// Measures database work.
    async fn timed<T>(&self, operation: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        self.metrics.queried(operation, started);
        done
    }

    /// Refuses changes of rules, hosts and teams where PostgreSQL is not their record.
    fn rules_are_here(&self) -> Result<(), ApiError> {
        match &self.rules_source {
            RulesSource::Postgres => Ok(()),
            RulesSource::Directory(_) => Err(ApiError::Conflict(
                "rules, development hosts and teams are kept in the files of RULES_DIR (RULES_SOURCE=dir): change them there".into(),
            )),
            RulesSource::Redis => Err(ApiError::Conflict(
                "the AlertRule and MuttPipeline objects are the record (RULES_SOURCE=redis): change them with kubectl apply"
                    .into(),
            )),
        }
    }

    /// Refuses changes of settings where the MuttPipeline is their record.
    fn settings_are_here(&self) -> Result<(), ApiError> {
        match &self.rules_source {
            RulesSource::Postgres | RulesSource::Directory(_) => Ok(()),
            RulesSource::Redis => Err(ApiError::Conflict(
                "the MuttPipeline object is the record of the settings (RULES_SOURCE=redis): change it with kubectl apply".into(),
            )),
        }
    }

    /// Tells the alerters that the rules changed. The change itself is committed; a failure only delays it by their
    /// poll interval.
    async fn announce_rules(&self) {
        let work = async {
            // One after the other, so that an older revision never follows a newer one.
            let _one_at_a_time = self.announcing.lock().await;
            rulesource::announce_change(&self.pool, &self.redis, &self.keys).await
        };
        match tokio::time::timeout(ANNOUNCE_TIME_MAX, work).await {
            Ok(Ok(revision)) => tracing::info!(revision = revision.short(), "rules changed"),
            Ok(Err(error)) => tracing::warn!(%error, "change of the rules not announced; the alerters poll for it"),
            Err(_) => tracing::warn!("change of the rules not announced in time; the alerters poll for it"),
        }
    }

    /// Asks Redis and PostgreSQL again and again whether they are there.
    async fn probe_always(&self, shutdown: &Shutdown) {
        let redis = self.health.dependency("redis");
        let database = self.health.dependency("database");
        while !shutdown.is_requested() {
            tokio::join!(
                probe(&redis, async { self.redis.ping().await.map_err(|error| error.to_string()) }),
                probe(&database, async {
                    let answer = sqlx::query("SELECT 1").execute(&self.pool).await;
                    answer.map(drop).map_err(|_| "PostgreSQL does not answer".to_owned())
                })
            );
            self.health.set_ready(!shutdown.is_requested());
            tokio::select! {
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
                () = shutdown.requested() => {}
            }
        }
    }
}

async fn probe(dependency: &Dependency, question: impl Future<Output = Result<(), String>>) {
    match tokio::time::timeout(PROBE_TIME_MAX, question).await {
        Ok(Ok(())) => dependency.up(),
        Ok(Err(reason)) => dependency.down(reason),
        Err(_) => dependency.down("no answer in time"),
    }
}

/// `mutt webui`: serves until the end is asked for and open requests are answered. Redis and PostgreSQL may be away.
pub(crate) async fn run(settings: WebUiSettings, context: Context) -> Result<(), Fatal> {
    let listener = bind(settings.port).await?;
    Box::pin(serve(settings, context, listener)).await
}

/// [`run`] on a port that is open already.
pub(crate) async fn serve(settings: WebUiSettings, context: Context, listener: TcpListener) -> Result<(), Fatal> {
    if context.secrets.get(SecretName::WebUiApiKey).is_none() {
        return Err(Fatal::Refused(
            "WEBUI_API_KEY is missing: give it by the environment or by WEBUI_API_KEY_FILE".into(),
        ));
    }
    let tls = Tls::load_optional(settings.common.tls.as_ref(), &context.registry)?;
    let api = Arc::new(Api::new(&settings, &context)?);
    let router = routes::router(api.clone(), &context.registry);
    let limits = Limits { drain: settings.common.shutdown_timeout.saturating_sub(LAST_ANSWERS), ..Limits::default() };
    let shutdown = context.shutdown;
    tracing::info!(port = settings.port, "Web UI API serves");
    let leaving = async {
        shutdown.requested().await;
        api.health.set_ready(false);
    };
    let watching = async {
        match tls.clone() {
            Some(tls) => tls.watch(shutdown.clone()).await,
            None => shutdown.requested().await,
        }
    };
    tokio::join!(
        serve_router(listener, tls.clone(), limits, shutdown.clone(), router),
        api.probe_always(&shutdown),
        api.metrics.flush_always(&api.redis, &api.keys, &shutdown),
        watching,
        leaving,
    );
    Ok(())
}
