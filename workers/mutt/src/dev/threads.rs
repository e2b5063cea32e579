//! Roles in this process, each on a thread and a runtime of its own, as it would run alone.

use std::{thread, time::Duration};

use tokio::sync::mpsc;

use super::args::DevRole;
use crate::{
    alert, forward, ingest,
    settings::{AlerterSettings, ForwarderSettings, IngestorSettings, Vars, WebUiSettings, read_secrets},
    telemetry, webui,
    worker::{Context, Fatal, Reload, Shutdown, ShutdownTrigger, single_threaded},
};

/// The end of a role.
type Ended = (DevRole, Result<(), Fatal>);

/// The roles' threads.
#[derive(Debug)]
pub(super) struct Threads {
    shutdown: ShutdownTrigger,
    ended: mpsc::UnboundedReceiver<Ended>,
    running: usize,
}

impl Threads {
    pub(super) fn start(roles: &[DevRole], vars: &Vars, reload: &Reload) -> Result<Self, Fatal> {
        let (trigger, shutdown) = Shutdown::channel();
        let (report, ended) = mpsc::unbounded_channel();
        for role in roles {
            let context = Context {
                secrets: read_secrets(vars)?,
                registry: telemetry::registry().map_err(|error| Fatal::failed("cannot register metrics", error))?,
                shutdown: shutdown.clone(),
                reload: reload.clone(),
            };
            let (role, vars, report) = (*role, vars.clone(), report.clone());
            thread::Builder::new()
                .name(role.command().to_owned())
                .spawn(move || {
                    // The receiver is gone only when the process is about to end.
                    let _ = report.send((role, run(role, &vars, context)));
                })
                .map_err(|error| Fatal::failed("start a thread", error))?;
        }
        Ok(Self { shutdown: trigger, ended, running: roles.len() })
    }

    /// Waits until a role ends.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => {
                self.running -= 1;
                ended
            }
            // All threads are gone, which was told before.
            None => std::future::pending().await,
        }
    }

    /// Lets all drain; gives up after `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.shutdown.request();
        let drain = async {
            while self.running > 0 {
                let (role, result) = self.ended().await;
                if let Err(error) = result {
                    tracing::warn!(role = role.command(), %error, "ended with an error");
                }
            }
        };
        if tokio::time::timeout(grace, drain).await.is_err() {
            tracing::warn!("not every role has drained in time");
        }
    }
}

fn run(role: DevRole, vars: &Vars, context: Context) -> Result<(), Fatal> {
    let runtime = single_threaded().map_err(|error| Fatal::failed("start a runtime", error))?;
    let result = match role {
        DevRole::Alerter => runtime.block_on(alert::run(AlerterSettings::from_vars(vars)?, context)),
        DevRole::Forwarder => runtime.block_on(forward::run(ForwarderSettings::from_vars(vars)?, context)),
        DevRole::Webui => runtime.block_on(webui::run(WebUiSettings::from_vars(vars)?, context)),
        DevRole::Ingestor => runtime.block_on(ingest::run(IngestorSettings::from_vars(vars)?, context)),
    };
    runtime.shutdown_background();
    result
}

/// Everything wrong with the settings of all roles at once, before anything is started.
pub(super) fn check(roles: &[DevRole], vars: &Vars) -> Result<(), Fatal> {
    let mut faults = Vec::new();
    let mut add = |result: Result<(), crate::settings::Faults>| {
        for fault in result.err().into_iter().flat_map(|faults| faults.0) {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    };
    for role in roles {
        add(match role {
            DevRole::Ingestor => IngestorSettings::from_vars(vars).map(drop),
            DevRole::Alerter => AlerterSettings::from_vars(vars).map(drop),
            DevRole::Forwarder => ForwarderSettings::from_vars(vars).map(drop),
            DevRole::Webui => WebUiSettings::from_vars(vars).map(drop),
        });
    }
    add(read_secrets(vars).map(drop));
    if faults.is_empty() { Ok(()) } else { Err(crate::settings::Faults(faults).into()) }
}
