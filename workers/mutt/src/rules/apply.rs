//! `mutt rules apply`.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mutt_queue::{Keys, Redis};
use mutt_rules::Revision;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool, Row};

use super::change::{Author, Target, record};
use super::plan::{Existing, ExistingRule, Plan, TeamChange};
use super::row::{RowError, RuleColumns};
use super::sources::{Sources, counted};
use super::table;
use crate::cli::{Output, Tool, print};
use crate::settings::{DatabaseSettings, Reader, RedisSettings, RulesSource};
use crate::worker::Fatal;
use crate::{connect, rulesource};

/// How long the alerters are looked at without `--wait`: a change is in use within two seconds.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// Rows from which on a progress bar is worth its line.
const PROGRESS_ROWS_MIN: usize = 200;

/// What was asked for beside the files.
pub(super) struct ApplyOptions {
    pub(super) prune: bool,
    pub(super) dry_run: bool,
    pub(super) reason: Option<String>,
    /// How long to wait for the alerters at most.
    pub(super) wait: Option<Duration>,
    pub(super) changed_by: String,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub(super) struct Applied {
    dry_run: bool,
    rules: RulesApplied,
    development_hosts: Applications,
    teams: Applications,
    /// The rule set's revision; none after a dry run.
    revision: Option<String>,
    /// None: nobody was asked.
    alerters: Option<Alerters>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RulesApplied {
    created: Vec<String>,
    updated: Vec<Updated>,
    deleted: Vec<String>,
    unchanged: usize,
    /// Rules without a name, which `--prune` leaves.
    unnamed: Vec<i32>,
}

#[derive(Debug, Serialize)]
struct Updated {
    name: String,
    fields: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Applications {
    set: Vec<String>,
    removed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Alerters {
    /// Alerters that use the revision.
    in_use: usize,
    /// Alerters with a heartbeat.
    alive: usize,
    laggards: Vec<String>,
    /// Rules that an alerter does not use as written.
    errors: Vec<String>,
}

/// Where the rules go.
pub(super) struct Destination {
    pub(super) pool: PgPool,
    pub(super) redis: Redis,
    pub(super) keys: std::sync::Arc<Keys>,
    /// For messages.
    pub(super) name: String,
}

impl Destination {
    /// Reads the settings; refuses a source of rules other than PostgreSQL.
    pub(super) fn open(tool: &Tool) -> Result<Self, Fatal> {
        let mut reader = Reader::new(&tool.vars);
        let source = RulesSource::read(&mut reader);
        let database = DatabaseSettings::read(&mut reader);
        let redis = RedisSettings::read(&mut reader);
        let (source, database, redis) = reader.finish((source, database, redis))?;
        match source {
            RulesSource::Postgres => {}
            RulesSource::Directory(path) => {
                return Err(Fatal::Refused(format!(
                    "RULES_SOURCE=dir: the rules are the files in {}, not in PostgreSQL; change them there",
                    path.display()
                )));
            }
            RulesSource::Redis => {
                return Err(Fatal::Refused(
                    "RULES_SOURCE=redis: the rules are the AlertRule objects of Kubernetes, not in PostgreSQL; \
                     use kubectl apply -f"
                        .into(),
                ));
            }
        }
        Ok(Self {
            pool: connect::postgres(&database, &tool.secrets, &tool.shutdown),
            redis: Redis::new(connect::redis(&redis, &tool.secrets)),
            keys: connect::keys(&redis),
            name: format!("database {} on {}:{}", database.database, database.host, database.port),
        })
    }

    pub(super) fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fatal {
        Fatal::failed(self.name.clone(), error)
    }
}

/// Runs `mutt rules apply`.
pub(super) async fn apply(paths: &[PathBuf], options: ApplyOptions, output: Output, tool: &Tool) -> Result<(), Fatal> {
    let sources = Sources::read(paths).without_problems(output, "; nothing was written")?;
    let destination = Destination::open(tool)?;
    let applied = apply_to(&destination, &sources, &options).await?;
    print(output, &applied, text)?;
    match &applied.alerters {
        Some(alerters) if options.wait.is_some() && alerters.in_use < alerters.alive => Err(Fatal::Findings(format!(
            "written, but not in use everywhere: {} of {} alerters have it",
            alerters.in_use, alerters.alive
        ))),
        None if options.wait.is_some() && !options.dry_run => {
            Err(Fatal::Findings("written, but whether the alerters use it cannot be told".into()))
        }
        _ => Ok(()),
    }
}

/// Applies checked sources.
pub(super) async fn apply_to(
    destination: &Destination,
    sources: &Sources,
    options: &ApplyOptions,
) -> Result<Applied, Fatal> {
    let failed = |error: RowError| destination.failed(error);
    let sql = |error: sqlx::Error| destination.failed(error);
    let mut transaction = destination.pool.begin().await.map_err(sql)?;
    let existing = existing(&mut transaction).await.map_err(failed)?;
    let plan = Plan::new(&existing, sources, options.prune);
    let mut applied = Applied::of(&plan, options.dry_run);
    if options.dry_run {
        return Ok(applied);
    }
    let author = Author {
        changed_by: options.changed_by.clone(),
        reason: options.reason.clone(),
        correlation_id: Some(uuid::Uuid::now_v7().to_string()),
    };
    write(&mut transaction, &author, &plan).await.map_err(failed)?;
    transaction.commit().await.map_err(sql)?;
    match rulesource::announce_change(&destination.pool, &destination.redis, &destination.keys).await {
        Ok(revision) => {
            applied.revision = Some(revision.to_string());
            let limit = options.wait.unwrap_or(LOOK_TIME);
            match in_use(destination, &revision, limit).await {
                Ok(alerters) => applied.alerters = Some(alerters),
                Err(warning) => applied.warnings.push(warning),
            }
        }
        Err(error) => applied.warnings.push(format!("not announced; the alerters poll for changes: {error}")),
    }
    Ok(applied)
}

/// Reads what is there; other writers wait until the transaction ends.
async fn existing(connection: &mut PgConnection) -> Result<Existing, RowError> {
    sqlx::query("LOCK TABLE alert_rules, development_hosts, device_teams IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query("SELECT *, to_jsonb(alert_rules) AS raw FROM alert_rules ORDER BY priority, id")
        .fetch_all(&mut *connection)
        .await?;
    let mut existing = Existing::default();
    for row in &rows {
        let columns = RuleColumns::read(row).ok().map(|(_, columns)| columns);
        let (id, name, raw) = (row.try_get("id")?, row.try_get("name")?, row.try_get("raw")?);
        existing.rules.push(ExistingRule { id, name, columns, raw });
    }
    let hosts: Vec<String> =
        sqlx::query_scalar("SELECT hostname FROM development_hosts").fetch_all(&mut *connection).await?;
    existing.hosts = hosts.into_iter().collect();
    let teams: Vec<(String, String)> =
        sqlx::query_as("SELECT hostname, team_assignment FROM device_teams").fetch_all(&mut *connection).await?;
    existing.teams = teams.into_iter().collect();
    Ok(existing)
}

async fn write(connection: &mut PgConnection, author: &Author, plan: &Plan) -> Result<(), RowError> {
    let progress = progress(plan.changes());
    // Deletions first: a name may move from one row to another.
    for (id, _) in &plan.delete {
        table::delete(connection, author, *id).await?;
        progress.inc(1);
    }
    for update in &plan.update {
        table::update(connection, author, update.id, update.old.clone(), &update.new).await?;
        progress.inc(1);
    }
    for rule in &plan.create {
        table::insert(connection, author, rule).await?;
        progress.inc(1);
    }
    for host in &plan.hosts_added {
        let insert = "INSERT INTO development_hosts (hostname) VALUES ($1) ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(host).execute(&mut *connection).await?;
        let target = Target { table: "development_hosts", record: host };
        record(connection, author, target, None, Some(json!({ "hostname": host }))).await?;
        progress.inc(1);
    }
    for host in &plan.hosts_removed {
        sqlx::query("DELETE FROM development_hosts WHERE hostname = $1").bind(host).execute(&mut *connection).await?;
        let target = Target { table: "development_hosts", record: host };
        record(connection, author, target, Some(json!({ "hostname": host })), None).await?;
        progress.inc(1);
    }
    for change in &plan.teams {
        write_team(connection, author, change).await?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

async fn write_team(connection: &mut PgConnection, author: &Author, change: &TeamChange) -> Result<(), RowError> {
    if let Some(team) = &change.new {
        let upsert = "INSERT INTO device_teams (hostname, team_assignment) VALUES ($1, $2) \
                      ON CONFLICT (hostname) DO UPDATE SET team_assignment = excluded.team_assignment";
        sqlx::query(upsert).bind(&change.host).bind(team).execute(&mut *connection).await?;
    } else {
        let delete = "DELETE FROM device_teams WHERE hostname = $1";
        sqlx::query(delete).bind(&change.host).execute(&mut *connection).await?;
    }
    let value =
        |team: &Option<String>| team.as_ref().map(|team| json!({ "hostname": change.host, "team_assignment": team }));
    let target = Target { table: "device_teams", record: &change.host };
    record(connection, author, target, value(&change.old), value(&change.new)).await?;
    Ok(())
}

/// A bar on standard error where that is a terminal and the work is long.
fn progress(rows: usize) -> ProgressBar {
    if rows < PROGRESS_ROWS_MIN {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(rows as u64), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn in_use(destination: &Destination, revision: &Revision, limit: Duration) -> Result<Alerters, String> {
    let acks = rulesource::wait_active(&destination.redis, &destination.keys, revision, limit)
        .await
        .map_err(|error| format!("whether the alerters use it cannot be told: {error}"))?;
    let mut errors: Vec<String> = acks
        .by_worker
        .values()
        .filter(|ack| ack.revision == revision.as_str())
        .flat_map(|ack| ack.errors.iter().map(|error| format!("{}: {}", error.rule, error.reason)))
        .collect();
    errors.sort();
    errors.dedup();
    let in_use = acks.by_worker.values().filter(|ack| ack.revision == revision.as_str()).count();
    Ok(Alerters { in_use, alive: in_use + acks.laggards.len(), laggards: acks.laggards, errors })
}

impl Applied {
    fn of(plan: &Plan, dry_run: bool) -> Self {
        let team = |change: &TeamChange| change.host.clone();
        Self {
            dry_run,
            rules: RulesApplied {
                created: plan.create.iter().filter_map(|rule| rule.name.clone()).collect(),
                updated: plan.update.iter().map(|u| Updated { name: u.name(), fields: u.fields() }).collect(),
                deleted: plan.delete.iter().map(|(_, name)| name.clone()).collect(),
                unchanged: plan.unchanged.len(),
                unnamed: plan.unnamed.clone(),
            },
            development_hosts: Applications { set: plan.hosts_added.clone(), removed: plan.hosts_removed.clone() },
            teams: Applications {
                set: plan.teams.iter().filter(|change| change.new.is_some()).map(team).collect(),
                removed: plan.teams.iter().filter(|change| change.new.is_none()).map(team).collect(),
            },
            revision: None,
            alerters: None,
            warnings: Vec::new(),
        }
    }
}

fn text(applied: &Applied) -> String {
    let mut lines = Vec::new();
    let rules = &applied.rules;
    lines.extend(rules.created.iter().map(|name| format!("+ {name}")));
    lines.extend(rules.updated.iter().map(|rule| format!("~ {} ({})", rule.name, rule.fields.join(", "))));
    lines.extend(rules.deleted.iter().map(|name| format!("- {name}")));
    for (what, changes) in [("development host", &applied.development_hosts), ("team of", &applied.teams)] {
        lines.extend(changes.set.iter().map(|host| format!("+ {what} {host}")));
        lines.extend(changes.removed.iter().map(|host| format!("- {what} {host}")));
    }
    if !rules.unnamed.is_empty() {
        let ids: Vec<String> = rules.unnamed.iter().map(ToString::to_string).collect();
        lines.push(format!("rules without a name stay: {}", ids.join(", ")));
    }
    let (created, updated, deleted) = (rules.created.len(), rules.updated.len(), rules.deleted.len());
    let counts = format!("{created} created, {updated} updated, {deleted} deleted, {} unchanged", rules.unchanged);
    let total = created + updated + rules.unchanged;
    let done = if applied.dry_run { " (dry run: nothing was written)" } else { "" };
    lines.push(format!("{}: {counts}{done}", counted(total, "rule")));
    if let Some(alerters) = &applied.alerters {
        lines.push(match alerters.alive {
            0 => "no alerter is running; the next one starts with these rules".to_owned(),
            alive => format!("in use by {} of {}", alerters.in_use, counted(alive, "alerter")),
        });
        lines.extend(alerters.laggards.iter().map(|worker| format!("not yet: {worker}")));
        lines.extend(alerters.errors.iter().map(|error| format!("not in use as written: {error}")));
    }
    lines.extend(applied.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

#[cfg(test)]
impl Applied {
    /// Names of created, updated and deleted rules.
    pub(super) fn names(&self) -> [Vec<String>; 3] {
        let updated = self.rules.updated.iter().map(|rule| rule.name.clone()).collect();
        [self.rules.created.clone(), updated, self.rules.deleted.clone()]
    }

    pub(super) fn summary(&self) -> String {
        text(self)
    }
}
