//! A private Redis, a database and a webhook, and the settings with which roles use them.

use mutt_servers::{PostgresOptions, PostgresServer, RedisOptions, RedisServer, Webhook};

use crate::{Role, RoleProcess, Sender, output_of};

const INGEST_KEY: &str = "e2e-ingest-key";

/// Everything round the roles of one test.
#[derive(Debug)]
pub struct Pipeline {
    /// The Redis of this test.
    pub redis: RedisServer,
    /// The webhook that gets the alerts.
    pub webhook: Webhook,
    /// The server the database is on: the shared one, or one of this test's own.
    postgres: Postgres,
    /// URL of the database.
    pub database_url: String,
    settings: Vec<(String, String)>,
}

#[derive(Debug)]
enum Postgres {
    Shared(&'static PostgresServer),
    Own(Box<PostgresServer>),
}

impl Pipeline {
    /// With a database on the server that all tests share, migrated, and two rules: messages with `ALERT`
    /// are forwarded, those with `quiet` only audited.
    pub async fn start() -> Self {
        Self::start_with(RedisOptions::new()).await
    }

    /// As [`Self::start`], with options for Redis.
    pub async fn start_with(redis: RedisOptions) -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let database_url = server.fresh_database().await.unwrap();
        let webhook = Webhook::start().await.unwrap();
        Self::assemble(redis, webhook, Postgres::Shared(server), database_url).await
    }

    /// As [`Self::start`], with a PostgreSQL of its own that the test may stop.
    pub async fn start_with_own_postgres() -> Self {
        let webhook = Webhook::start().await.unwrap();
        Self::start_on(RedisOptions::new(), PostgresOptions::new(), webhook).await
    }

    /// As [`Self::start`], with options for all servers.
    pub async fn start_on(redis: RedisOptions, postgres: PostgresOptions, webhook: Webhook) -> Self {
        let server = postgres.start().await.unwrap();
        let database_url = server.fresh_database().await.unwrap();
        Self::assemble(redis, webhook, Postgres::Own(Box::new(server)), database_url).await
    }

    async fn assemble(redis: RedisOptions, webhook: Webhook, postgres: Postgres, database_url: String) -> Self {
        let redis = redis.start().await.unwrap();
        let settings = [
            ("REDIS_URL", redis.url()),
            ("DATABASE_URL", database_url.clone()),
            ("MOOG_WEBHOOK_URL", webhook.url()),
            ("MOOG_API_KEY", "e2e-moog-key".to_owned()),
            ("INGEST_API_KEY", INGEST_KEY.to_owned()),
            ("WEBUI_API_KEY", "e2e-webui-key".to_owned()),
            ("MOOG_RATE_LIMIT", "0".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let pipeline = Self { redis, webhook, postgres, database_url, settings };
        let migrated = output_of(&["db", "migrate"], &pipeline.settings).await;
        assert!(migrated.status.success(), "mutt db migrate: {migrated:?}");
        pipeline
            .sql(
                "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) \
                 VALUES ('ALERT', 'contains', 10, 'Page_and_ticket', 'Ignore', 'NETO'), \
                        ('quiet', 'contains', 20, 'Log_only', 'Log_only', 'NETO')",
            )
            .await;
        pipeline
    }

    /// The PostgreSQL server.
    pub fn postgres(&self) -> &PostgresServer {
        match &self.postgres {
            Postgres::Shared(server) => server,
            Postgres::Own(server) => server,
        }
    }

    /// Sets a setting of the roles started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.retain(|(key, _)| key != name);
        self.settings.push((name.to_owned(), value.into()));
    }

    /// The settings of the roles.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Starts a role and does not wait.
    pub fn spawn(&self, role: Role) -> RoleProcess {
        RoleProcess::spawn(role, &self.settings)
    }

    /// Starts a role and waits until it is ready.
    pub async fn run(&self, role: Role) -> RoleProcess {
        let mut process = self.spawn(role);
        process.wait_ready().await;
        process
    }

    /// A sender to an ingestor.
    pub fn sender(&self, ingestor: &RoleProcess) -> Sender {
        Sender::new(&ingestor.url(), INGEST_KEY)
    }

    /// Runs SQL in the test's database: a line per row, `|` between the fields.
    pub async fn sql(&self, sql: &str) -> String {
        self.postgres().sql_at(&self.database_url, sql).await.unwrap()
    }

    /// First number of the first row; `None` when the database cannot be asked.
    pub async fn number(&self, sql: &str) -> Option<i64> {
        self.postgres().sql_at(&self.database_url, sql).await.ok()?.parse().ok()
    }

    /// Number of audit rows.
    pub async fn audited(&self) -> i64 {
        self.number("SELECT count(*) FROM event_audit_log").await.unwrap_or(-1)
    }

    /// Length of a list in Redis, -1 when it cannot be asked.
    pub async fn length(&self, key: &str) -> i64 {
        self.redis.command(&["LLEN", key]).await.map_or(-1, |reply| reply.integer())
    }
}
