//! Probes. Liveness asks `/live`, which depends on nothing else: an outage of Redis restarts no pod.

use k8s_openapi::{
    api::core::v1::{HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::ports::Ports;

/// Two minutes to bind the ports and compile the rules, asked every second so that a quick start is seen at once.
const START_SECONDS: i32 = 120;
/// `/live` fails after 20 s without a turn of the main loop; 30 s more before the restart.
const LIVENESS_PERIOD_SECONDS: i32 = 10;
const LIVENESS_FAILURES: i32 = 3;
const READINESS_PERIOD_SECONDS: i32 = 5;
const READINESS_FAILURES: i32 = 2;
/// A busy node, not a broken pod.
const TIMEOUT_SECONDS: i32 = 5;

/// The three probes of a container.
pub(super) struct Probes {
    pub(super) startup: Probe,
    pub(super) liveness: Probe,
    pub(super) readiness: Probe,
}

impl Probes {
    pub(super) fn new(ports: Ports, tls: bool) -> Self {
        let probe = |path: &str, period: i32, failures: i32| Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::String(ports.health.name.to_owned()),
                scheme: Some(if tls { "HTTPS" } else { "HTTP" }.to_owned()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            timeout_seconds: Some(TIMEOUT_SECONDS),
            ..Probe::default()
        };
        Self {
            startup: probe("/live", 1, START_SECONDS),
            liveness: probe("/live", LIVENESS_PERIOD_SECONDS, LIVENESS_FAILURES),
            readiness: probe("/ready", READINESS_PERIOD_SECONDS, READINESS_FAILURES),
        }
    }
}
