//! The service level objectives as Prometheus records them (`manifests/prometheus/mutt.rules.yaml`), for the Web UI's API
//! and `mutt status`.

mod judge;
mod prometheus;

use serde::Serialize;
use utoipa::ToSchema;

use crate::settings::SloSettings;
use crate::worker::Fatal;
use judge::judge;
use prometheus::Prometheus;

/// Thirty days, over which the error budget is counted.
const WINDOW_HOURS: u32 = 720;

/// What is promised, without a word on how it goes.
struct Objective {
    /// Label `slo` of the recorded series.
    name: &'static str,
    description: &'static str,
    /// The part of the events that must meet it, unless the recorded budget says otherwise.
    target: f64,
}

const OBJECTIVES: [Objective; 4] = [
    Objective {
        name: "ingest_availability",
        description: "Well-formed events are accepted and not refused because the pipeline is full or Redis is away",
        target: 0.999,
    },
    Objective { name: "ingest_latency", description: "Requests are answered within 0.1 s", target: 0.99 },
    Objective {
        name: "accepted_to_audited",
        description: "Accepted events are audited, and their alerts queued, within 10 s",
        target: 0.99,
    },
    Objective {
        name: "accepted_to_delivered",
        description: "Alerts are delivered within 60 s of their event's acceptance",
        target: 0.99,
    },
];

/// How an objective stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Met, and the error budget lasts.
    Ok,
    /// Met, but the budget is being used up so fast that an alert fires.
    AtRisk,
    /// Missed over the window: the budget is used up.
    Breached,
    /// Prometheus does not say; the message says why.
    Unknown,
}

impl State {
    /// As in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::AtRisk => "at_risk",
            Self::Breached => "breached",
            Self::Unknown => "unknown",
        }
    }
}

/// One objective and how it stands. Ratios are parts of 1.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct Slo {
    /// `ingest_availability`, `ingest_latency`, `accepted_to_audited` or `accepted_to_delivered`.
    pub slo_name: &'static str,
    /// What is promised.
    pub description: &'static str,
    /// Hours over which it is promised.
    pub window_hours: u32,
    /// Part of the events that met it over the window.
    pub actual_value: Option<f64>,
    /// How it stands.
    pub status: State,
    /// Part of the error budget that is left; negative once it is overdrawn.
    pub error_budget_remaining: Option<f64>,
    /// How fast the budget went in the last hour; 1 = it would last exactly for the window.
    pub burn_rate: Option<f64>,
    /// For people; where the status is `unknown`, what to do about it.
    pub message: String,
    /// Part of the events that must meet it.
    pub target: f64,
}

/// Asks for the objectives.
pub(crate) struct Objectives(Option<Prometheus>);

impl Objectives {
    /// For the Prometheus of the settings; without one, everything is unknown.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(settings: &SloSettings) -> Result<Self, Fatal> {
        settings.prometheus.clone().map(|url| Prometheus::new(url, &settings.selector)).transpose().map(Self)
    }

    /// How the objectives stand; takes a few seconds at most, and what goes wrong is in the messages.
    pub(crate) async fn read(&self) -> Vec<Slo> {
        let Some(prometheus) = &self.0 else {
            return judge(
                &Err("PROMETHEUS_URL is not set: it names the Prometheus that records the objectives".into()),
            );
        };
        let recorded = prometheus.recorded().await.map_err(|error| error.to_string());
        if let Err(error) = &recorded {
            tracing::debug!(error, "objectives unknown");
        }
        judge(&recorded)
    }
}
