//! Settings: environment, flags and a settings file, read in two stages. [`Vars`] holds raw texts; the structs here are
//! validated. Every fault is reported at once, before a port opens.

mod catalog;
mod common;
mod reader;
mod roles;
mod slo;
mod vars;

pub(crate) use catalog::{SETTINGS, markdown, secret_names};
pub(crate) use common::{
    CommonSettings, DatabaseSettings, LogFormat, LogSettings, RedisSettings, ServerTls, host_name, read_secrets,
};
pub(crate) use reader::{Fault, Faults, Reader};
pub(crate) use roles::{
    Ack, AlerterSettings, AuditScope, ForwarderSettings, IngestorSettings, RulesSource, WebUiSettings,
};
pub(crate) use slo::SloSettings;
pub(crate) use vars::{Origin, Vars, near_misses};

/// Who reads a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ingestor,
    Alerter,
    Forwarder,
    WebUi,
    /// `mutt relay`.
    Relay,
    /// `mutt rules`, `mutt db`, `mutt dlq`, `mutt status`: they read the connections.
    Tool,
}

impl Role {
    /// The service's name in `/health` and in logs.
    pub(crate) const fn service(self) -> &'static str {
        match self {
            Self::Ingestor => "mutt-ingestor",
            Self::Alerter => "mutt-alerter",
            Self::Forwarder => "mutt-forwarder",
            Self::WebUi => "mutt-webui",
            Self::Relay => "mutt-relay",
            Self::Tool => "mutt",
        }
    }

    /// Short name in the documentation and on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ingestor => "ingestor",
            Self::Alerter => "alerter",
            Self::Forwarder => "forwarder",
            Self::WebUi => "webui",
            Self::Relay => "relay",
            Self::Tool => "tools",
        }
    }
}
