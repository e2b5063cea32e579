//! The flags of `mutt dev`.

use std::path::PathBuf;

use clap::ValueEnum;

/// A role that `mutt dev` can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum DevRole {
    Ingestor,
    Alerter,
    Forwarder,
    Webui,
}

impl DevRole {
    /// The role's command, as in `mutt ingestor`.
    pub(crate) const fn command(self) -> &'static str {
        match self {
            Self::Ingestor => "ingestor",
            Self::Alerter => "alerter",
            Self::Forwarder => "forwarder",
            Self::Webui => "webui",
        }
    }

    /// Settings of the ports that answer health and metrics requests (the same for ingestor and Web UI).
    pub(crate) const fn ports(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingestor => ("SERVER_PORT_INGESTOR", "SERVER_PORT_INGESTOR"),
            Self::Alerter => ("HEALTH_PORT_ALERTER", "METRICS_PORT_ALERTER"),
            Self::Forwarder => ("HEALTH_PORT_MOOG", "METRICS_PORT_MOOG"),
            Self::Webui => ("SERVER_PORT_WEBUI", "SERVER_PORT_WEBUI"),
        }
    }
}

/// Which ports the roles listen on where the settings do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortChoice {
    /// The defaults: 8080 to 8084 and 8090.
    Fixed,
    /// Ports that are free now.
    Free,
}

/// Private Redis and PostgreSQL, all roles, sample rules, a stand-in webhook and sample traffic.
///
/// Every setting of the roles is honoured from the environment; API keys that are not given are made up.
/// Ctrl-C stops everything that was started. SIGHUP reloads the rules.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DevArgs {
    /// Roles to run.
    #[arg(long, value_delimiter = ',', default_value = "ingestor,alerter,forwarder,webui")]
    pub(crate) roles: Vec<DevRole>,
    /// Use this Redis instead of a private one (redis:// or rediss://; a password is taken here).
    #[arg(long, value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// Use this PostgreSQL database instead of a private one; it is migrated (a password is taken here).
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Send alerts to this webhook instead of the stand-in; it may be down.
    #[arg(long, value_name = "URL")]
    pub(crate) moog_url: Option<String>,
    /// Take the rules from AlertRule files in this directory instead of the database.
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
    /// Send no sample events.
    #[arg(long)]
    pub(crate) no_traffic: bool,
    /// Ports of the roles.
    #[arg(long, value_enum, default_value_t = PortChoice::Fixed)]
    pub(crate) ports: PortChoice,
    /// Run each role as a process of its own; one that ends is started again.
    #[arg(long)]
    pub(crate) processes: bool,
    /// When everything is ready, write URLs, keys and process ids to this file (shell syntax).
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}
