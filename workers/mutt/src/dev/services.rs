//! The private servers that `mutt dev` starts where no URL is given.

use std::time::Duration;

use mutt_servers::{PostgresOptions, PostgresServer, RedisServer, ServerError, Webhook};

use super::{args::DevArgs, args::DevRole, plan::Plan};

/// What was started; dropping it stops it.
#[derive(Debug, Default)]
pub(super) struct Services {
    redis: Option<RedisServer>,
    postgres: Option<PostgresServer>,
    pub(super) webhook: Option<Webhook>,
    /// URLs as scripts see them, empty where nothing runs.
    pub(super) redis_url: String,
    pub(super) database_url: String,
    pub(super) moog_url: String,
}

impl Services {
    /// Starts what the plan lacks, all at once, and tells the plan.
    pub(super) async fn start(args: &DevArgs, plan: &mut Plan) -> Result<Self, ServerError> {
        mutt_servers::sweep_abandoned();
        let redis = async {
            match plan.redis_url {
                Some(_) => Ok(None),
                None => RedisServer::start().await.map(Some),
            }
        };
        let needs_database = args.roles.iter().any(|role| matches!(role, DevRole::Alerter | DevRole::Webui));
        let postgres = async {
            if plan.database_url.is_some() || !needs_database {
                return Ok(None);
            }
            let server = PostgresOptions::new().durable().start().await?;
            server.create_database("mutt").await?;
            Ok(Some(server))
        };
        let webhook = async {
            if plan.moog_url.is_some() || !args.roles.contains(&DevRole::Forwarder) {
                return Ok(None);
            }
            Webhook::start().await.map(Some)
        };
        let (redis, postgres, webhook) = tokio::try_join!(redis, postgres, webhook)?;
        let given = |url: &Option<String>| url.clone().unwrap_or_default();
        let services = Self {
            redis_url: redis.as_ref().map_or_else(|| given(&plan.redis_url), RedisServer::url),
            database_url: postgres
                .as_ref()
                .map_or_else(|| given(&plan.database_url), |server| server.database_url("mutt")),
            moog_url: webhook.as_ref().map_or_else(|| given(&plan.moog_url), Webhook::url),
            redis,
            postgres,
            webhook,
        };
        services.tell(plan);
        Ok(services)
    }

    fn tell(&self, plan: &mut Plan) {
        if self.redis.is_some() {
            plan.forget_redis_secrets();
        }
        if self.postgres.is_some() {
            plan.forget_database_secrets();
        }
        plan.use_redis(&self.redis_url);
        if !self.database_url.is_empty() {
            plan.use_database(&self.database_url);
        }
        if !self.moog_url.is_empty() {
            plan.use_webhook(&self.moog_url);
        }
    }

    /// Stops everything in order.
    pub(super) async fn stop(self) {
        const GRACE: Duration = Duration::from_secs(10);
        let stop = async {
            if let Some(postgres) = &self.postgres {
                let _ = postgres.stop().await;
            }
            if let Some(redis) = &self.redis {
                let _ = redis.stop().await;
            }
        };
        // What does not end in time is killed when it is dropped.
        let _ = tokio::time::timeout(GRACE, stop).await;
    }
}
