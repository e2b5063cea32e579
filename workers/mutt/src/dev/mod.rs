//! `mutt dev`: private servers, all roles, sample rules and traffic on one machine.

mod args;
mod env_file;
mod plan;
mod processes;
mod ready;
mod report;
mod samples;
mod services;
mod threads;
mod traffic;

use std::time::Duration;

use mutt_servers::ServerError;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

pub(crate) use args::DevArgs;
use args::DevRole;
use plan::Plan;
use processes::{Change, EXIT_SETTINGS, Processes};
use report::AlertPrinter;
use services::Services;
use threads::Threads;

use crate::{
    cli::Tool,
    connect,
    settings::{AlerterSettings, read_secrets},
    worker::{Fatal, Reload, Shutdown},
};

/// A role's own drain deadline comes first; then what hangs is killed.
const DRAIN_EXTRA: Duration = Duration::from_secs(5);

impl From<ServerError> for Fatal {
    fn from(error: ServerError) -> Self {
        Self::failed("start a private server", error)
    }
}

/// Runs everything until the end is asked for, or until a role ends by itself.
///
/// # Errors
/// Wrong settings (nothing was started then), or something needed failed.
pub(crate) async fn run(args: DevArgs, tool: Tool) -> Result<(), Fatal> {
    let mut plan =
        Plan::new(&args, tool.vars.clone()).map_err(|error| Fatal::failed("choose keys and ports", error))?;
    threads::check(&args.roles, &plan.vars_for_check())?;
    let shutdown = tool.shutdown.clone();
    let interrupt = signal(SignalKind::interrupt()).map_err(|error| Fatal::failed("watch signals", error))?;

    let started = tokio::select! {
        started = start(&args, &mut plan, &tool) => started?,
        // Dropping the half-started servers stops them.
        () = shutdown.requested() => return Ok(()),
    };
    let (services, mut roles) = started;
    let result = run_started(&args, &plan, &services, &mut roles, tool).await;
    report::say("\nmutt dev stops …");
    let stop = async {
        roles.stop(drain_time(&plan) + DRAIN_EXTRA).await;
        services.stop().await;
    };
    tokio::select! {
        () = stop => {}
        // What was started and not yet stopped is killed when it is dropped, or with this process.
        () = second_interrupt(interrupt) => report::say("ended at once"),
    }
    result
}

async fn start(args: &DevArgs, plan: &mut Plan, tool: &Tool) -> Result<(Services, Roles), Fatal> {
    let services = Services::start(args, plan).await?;
    if !services.database_url.is_empty() {
        prepare_database(plan, &tool.shutdown).await?;
    }
    let roles = if args.processes {
        let processes = Processes::start(&args.roles, &plan.vars);
        Roles::Processes(processes.map_err(|error| Fatal::failed("start the roles' processes", error))?)
    } else {
        Roles::Threads(Threads::start(&args.roles, &plan.vars, &tool.reload)?)
    };
    Ok((services, roles))
}

/// Waits for the roles to be ready, tells where everything is, and watches until the end.
async fn run_started(
    args: &DevArgs,
    plan: &Plan,
    services: &Services,
    roles: &mut Roles,
    tool: Tool,
) -> Result<(), Fatal> {
    let client = ready::client()?;
    tokio::select! {
        () = ready::wait(&client, args, plan) => {}
        ended = roles.first_end() => return Err(ended),
        () = tool.shutdown.requested() => return Ok(()),
    }
    write_env_file(args, plan, services, roles)?;
    report::ready(args, plan, services);
    let traffic = async {
        let (url, _) = plan.urls(DevRole::Ingestor);
        match plan.vars.get("INGEST_API_KEY") {
            Some(key) if !args.no_traffic && args.roles.contains(&DevRole::Ingestor) => {
                traffic::send(&client, &format!("{url}/ingest"), key).await;
            }
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        () = traffic => Ok(()),
        () = show_alerts(services) => Ok(()),
        result = watch(args, plan, services, roles, tool.reload) => result,
        () = tool.shutdown.requested() => Ok(()),
    }
}

async fn show_alerts(services: &Services) {
    let Some(webhook) = &services.webhook else { return std::future::pending().await };
    let mut printer = AlertPrinter::default();
    loop {
        printer.show(webhook);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Restarts processes and hands reloads on; returns when a role ended for good.
async fn watch(
    args: &DevArgs,
    plan: &Plan,
    services: &Services,
    roles: &mut Roles,
    mut reload: Reload,
) -> Result<(), Fatal> {
    loop {
        match roles {
            Roles::Threads(threads) => {
                let (role, result) = threads.ended().await;
                result?;
                return Err(Fatal::failed(role.command(), "ended without being asked to"));
            }
            Roles::Processes(processes) => {
                let change = tokio::select! {
                    change = processes.change() => change.map_err(|error| Fatal::failed("watch processes", error))?,
                    () = reload.requested() => {
                        processes.signal(Signal::HUP);
                        continue;
                    }
                };
                match change {
                    Change::Ended(role, status) => {
                        report::say(format_args!("{} ended with {status}; it is started again", role.command()));
                    }
                    Change::Started(role, pid) => {
                        report::say(format_args!("{} runs again as process {pid}", role.command()));
                        write_env_file(args, plan, services, roles)?;
                    }
                }
            }
        }
    }
}

/// Brings the schema up to date, waiting for a given server that is away; loads the samples where they belong.
async fn prepare_database(plan: &Plan, shutdown: &Shutdown) -> Result<(), Fatal> {
    let settings = AlerterSettings::from_vars(&plan.vars)?.database;
    let pool = connect::postgres(&settings, &read_secrets(&plan.vars)?, shutdown);
    let mut backoff = crate::worker::Backoff::new();
    while let Err(error) = sqlx::query("SELECT 1").execute(&pool).await {
        if plan.database_url.is_none() {
            return Err(Fatal::failed("reach the private PostgreSQL", error));
        }
        report::say(format_args!("waiting for PostgreSQL: {error}"));
        backoff.wait().await;
    }
    crate::db::migrate(&pool).await.map_err(|error| Fatal::failed("migrate the database", error))?;
    if plan.sample_rules {
        let count = samples::load(&pool).await?;
        tracing::info!(count, "sample rules loaded");
    }
    pool.close().await;
    Ok(())
}

fn write_env_file(args: &DevArgs, plan: &Plan, services: &Services, roles: &Roles) -> Result<(), Fatal> {
    let Some(path) = &args.env_file else { return Ok(()) };
    let runs = |role| args.roles.contains(&role);
    let url = |role| if runs(role) { plan.urls(role).0 } else { String::new() };
    let key = |role, name| if runs(role) { plan.vars.get(name).unwrap_or_default().to_owned() } else { String::new() };
    let metrics = args.roles.iter().map(|role| format!("{}={}/metrics", role.command(), plan.urls(*role).1));
    let pids: Vec<String> = roles.pids().iter().map(u32::to_string).collect();
    let pairs = [
        ("INGEST_URL", url(DevRole::Ingestor)),
        ("API_KEY", key(DevRole::Ingestor, "INGEST_API_KEY")),
        ("WEBUI_URL", url(DevRole::Webui)),
        ("WEBUI_KEY", key(DevRole::Webui, "WEBUI_API_KEY")),
        ("REDIS_URL", services.redis_url.clone()),
        ("DATABASE_URL", services.database_url.clone()),
        ("MOOG_URL", services.moog_url.clone()),
        ("MOOG_API_KEY", key(DevRole::Forwarder, "MOOG_API_KEY")),
        ("METRICS_URLS", metrics.collect::<Vec<_>>().join(",")),
        ("PIDS", pids.join(",")),
    ];
    env_file::write(path, &pairs).map_err(|error| Fatal::failed(format!("write {}", path.display()), error))
}

fn drain_time(plan: &Plan) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(25);
    let given = plan.vars.get("SHUTDOWN_TIMEOUT").and_then(|text| text.parse().ok());
    given.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(DEFAULT)
}

/// Whoever presses Ctrl-C a second time does not want to wait.
async fn second_interrupt(mut interrupt: Signals) {
    // The first one may have been counted already, or come as the one that asked for the end.
    let first = tokio::time::timeout(Duration::from_millis(200), interrupt.recv()).await;
    drop(first);
    interrupt.recv().await;
}

/// The running roles.
#[derive(Debug)]
enum Roles {
    Threads(Threads),
    Processes(Processes),
}

impl Roles {
    /// Process ids, in the order of `--roles`.
    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Threads(_) => vec![std::process::id()],
            Self::Processes(processes) => processes.pids(),
        }
    }

    /// Waits until a role ends that was not ready yet.
    async fn first_end(&mut self) -> Fatal {
        match self {
            Self::Threads(threads) => {
                let (role, result) = threads.ended().await;
                result.err().unwrap_or_else(|| Fatal::failed(role.command(), "ended before it was ready"))
            }
            Self::Processes(processes) => match processes.change().await {
                Ok(Change::Ended(role, status)) if status.code() == Some(EXIT_SETTINGS) => {
                    Fatal::failed(role.command(), "its settings are wrong")
                }
                Ok(Change::Ended(role, status)) => Fatal::failed(role.command(), status.to_string()),
                Ok(Change::Started(role, _)) => Fatal::failed(role.command(), "was started twice"),
                Err(error) => Fatal::failed("watch processes", error),
            },
        }
    }

    async fn stop(self, grace: Duration) {
        match self {
            Self::Threads(threads) => threads.stop(grace).await,
            Self::Processes(processes) => processes.stop(grace).await,
        }
    }
}
