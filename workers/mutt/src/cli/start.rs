//! From parsed settings to a running role or tool: logging, secrets, TLS provider, runtime, signals.

use std::{future::Future, io};

use mutt_secrets::Secrets;
use tokio::runtime::{Builder, Runtime};

use crate::{
    settings::{CommonSettings, LogSettings, Reader, Role, Vars, near_misses, read_secrets},
    telemetry,
    worker::{Context, Fatal, Reload, Shutdown, single_threaded, watch_signals},
};

/// What a tool is given.
#[derive(Clone)]
pub(crate) struct Tool {
    pub(crate) vars: Vars,
    pub(crate) secrets: Secrets,
    pub(crate) shutdown: Shutdown,
    pub(crate) reload: Reload,
}

/// Runs a role until it ends.
pub(super) fn role<F, Fut>(
    role: Role,
    common: &CommonSettings,
    vars: &Vars,
    threads: usize,
    run: F,
) -> Result<(), Fatal>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<(), Fatal>>,
{
    telemetry::init(&common.log, role.service())?;
    for (name, known) in near_misses() {
        tracing::warn!("environment variable {name} is not a setting; did you mean {known}?");
    }
    install_tls_provider();
    let secrets = read_secrets(vars)?;
    let runtime = runtime(threads)?;
    let outcome = runtime.block_on(async {
        let (shutdown_trigger, shutdown) = Shutdown::channel();
        let (reload_trigger, reload) = Reload::channel();
        watch_signals(shutdown_trigger, reload_trigger)
            .map_err(|error| Fatal::failed("cannot watch signals", error))?;
        let registry = telemetry::registry().map_err(|error| Fatal::failed("cannot register metrics", error))?;
        tracing::info!(version = telemetry::VERSION, pod = common.pod_name, "{} starts", role.service());
        run(Context { secrets, registry, shutdown, reload }).await
    });
    runtime.shutdown_background();
    if let Err(error) = &outcome {
        tracing::error!(%error, "ends");
    }
    outcome
}

/// Runs a tool: logs are warnings to standard error unless LOG_LEVEL says otherwise.
pub(super) fn tool<F, Fut>(vars: Vars, run: F) -> Result<(), Fatal>
where
    F: FnOnce(Tool) -> Fut,
    Fut: Future<Output = Result<(), Fatal>>,
{
    let filter = vars.get("LOG_LEVEL").unwrap_or("warn").to_owned();
    let mut reader = Reader::new(&vars);
    let common = CommonSettings::read(&mut reader);
    let common = reader.finish(common)?;
    telemetry::init(&LogSettings { filter, directory: None, ..common.log }, "mutt")?;
    install_tls_provider();
    let secrets = read_secrets(&vars)?;
    let runtime = runtime(1)?;
    let outcome = runtime.block_on(async {
        let (shutdown_trigger, shutdown) = Shutdown::channel();
        let (reload_trigger, reload) = Reload::channel();
        watch_signals(shutdown_trigger, reload_trigger)
            .map_err(|error| Fatal::failed("cannot watch signals", error))?;
        run(Tool { vars, secrets, shutdown, reload }).await
    });
    runtime.shutdown_background();
    outcome
}

/// One TLS stack for all clients and servers; a second installation is a no-op.
fn install_tls_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn runtime(threads: usize) -> Result<Runtime, Fatal> {
    let made: io::Result<Runtime> = if threads > 1 {
        Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    } else {
        single_threaded()
    };
    made.map_err(|error| Fatal::failed("cannot start the runtime", error))
}
