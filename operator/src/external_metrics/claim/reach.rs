//! Whether the API server reaches us. An APIService that nobody serves does harm beyond us: discovery is incomplete, and no
//! namespace of the cluster can be deleted. So it is given up when the API server has not come through for a while, as where a
//! firewall keeps the control plane from the pods' port, and tried again later, at ever longer intervals.

use std::time::Duration;

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use tokio::time::Instant;

use super::{
    bar::Bar,
    decision::{is_available, unavailable},
};

/// How long it stays given up at first, and at most.
const BARRED_MIN: Duration = Duration::from_secs(3600);
const BARRED_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Reach {
    /// How long the API server may be without a way to us.
    patience: Duration,
    unreached_since: Option<Instant>,
    bar: Bar,
}

impl Reach {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, unreached_since: None, bar: Bar::new(BARRED_MIN, BARRED_MAX) }
    }

    /// Looks at an APIService that is ours; none = there is none.
    pub(super) fn look(&mut self, ours: Option<&APIService>, port: u16, now: Instant) {
        let holds = self.bar.holds(now);
        let Some((reason, message)) = ours.and_then(unavailable) else {
            self.unreached_since = None;
            if ours.is_some_and(is_available) {
                self.bar.reset();
            }
            return;
        };
        let since = *self.unreached_since.get_or_insert(now);
        if !holds && now.duration_since(since) >= self.patience {
            let cause = if message.contains("x509") {
                "trusts the certificate no longer: who writes the APIService's caBundle?".to_owned()
            } else {
                format!("does not reach the operator, which it must on port {port} of its pods")
            };
            let why = format!("for external.metrics.k8s.io, the API server {cause} ({reason}: {message})");
            self.bar.set(now, &why);
        }
    }

    /// Why it is given up for now.
    pub(super) fn barred(&self) -> Option<&str> {
        self.bar.why()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(status: &str) -> APIService {
        let condition =
            json!({"type": "Available", "status": status, "reason": "FailedDiscoveryCheck", "message": "no way"});
        serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [condition]}})).unwrap()
    }

    #[test]
    fn it_is_given_up_after_a_while_and_tried_again_at_ever_longer_intervals() {
        const PATIENCE: Duration = Duration::from_secs(300);
        let (dead, well) = (service("False"), service("True"));
        let mut reach = Reach::new(PATIENCE);
        let mut now = Instant::now();
        let mut look = |reach: &mut Reach, ours: Option<&APIService>, later: Duration| {
            now += later;
            reach.look(ours, 8443, now);
            reach.barred().map(str::to_owned)
        };
        assert_eq!(look(&mut reach, Some(&dead), Duration::ZERO), None);
        assert_eq!(look(&mut reach, Some(&dead), PATIENCE / 2), None);
        assert_eq!(look(&mut reach, Some(&well), PATIENCE / 2), None);
        assert_eq!(look(&mut reach, Some(&dead), PATIENCE), None, "it counts from the last time that it was reached");
        let why = look(&mut reach, Some(&dead), PATIENCE).unwrap();
        assert!(
            why.contains("port 8443") && why.contains("(FailedDiscoveryCheck: no way); it is tried again at 2"),
            "{why}"
        );
        assert_eq!(look(&mut reach, None, BARRED_MIN / 2), Some(why));
        assert_eq!(look(&mut reach, None, BARRED_MIN / 2), None);
        assert_eq!(look(&mut reach, Some(&dead), Duration::ZERO), None);
        assert!(look(&mut reach, Some(&dead), PATIENCE).is_some());
        assert!(look(&mut reach, None, BARRED_MIN).is_some(), "longer than the first time");
        assert_eq!(look(&mut reach, None, BARRED_MIN), None);
        assert_eq!(look(&mut reach, Some(&well), Duration::ZERO), None);
        assert_eq!(look(&mut reach, Some(&dead), Duration::ZERO), None);
        assert!(look(&mut reach, Some(&dead), PATIENCE).is_some());
        assert_eq!(look(&mut reach, None, BARRED_MIN), None, "it had been reached in between");
    }
}
