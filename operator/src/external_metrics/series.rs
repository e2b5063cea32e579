//! The two metrics, as an `ExternalMetricValueList` of `external.metrics.k8s.io/v1beta1`.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::{Timestamp, Unit};
use mutt_queue::QueueState;
use serde_json::{Value, json};

use super::{
    queues::{Queues, QueuesError, Reading},
    selector::Selector,
    status::{Kind, Refusal},
    target::{GROUP, VERSION},
};
use crate::condition::shortened;

/// Of the names of a namespace's pipelines, so much stands in an error.
const NAMES_CHARS_MAX: usize = 500;

/// What is told of each queue and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    /// Elements.
    Depth,
    /// Seconds since the oldest element was accepted.
    OldestAge,
}

impl Metric {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Depth, Self::OldestAge];

    /// As HorizontalPodAutoscalers name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Depth => "mutt_queue_depth",
            Self::OldestAge => "mutt_queue_oldest_age_seconds",
        }
    }

    /// The metric of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The value as a Kubernetes quantity; `None` = the oldest element does not say when it came.
    fn quantity(self, queue: &QueueState) -> Option<String> {
        match self {
            Self::Depth => Some(queue.depth.to_string()),
            Self::OldestAge => age(queue).map(quantity),
        }
    }
}

/// An empty queue has nothing that is old.
pub(super) fn age(queue: &QueueState) -> Option<Duration> {
    if queue.depth == 0 { Some(Duration::ZERO) } else { queue.oldest_age }
}

/// Canonical: whole seconds, else thousandths.
fn quantity(age: Duration) -> String {
    match age.as_millis() {
        whole if whole % 1_000 == 0 => (whole / 1_000).to_string(),
        thousandths => format!("{thousandths}m"),
    }
}

const QUEUES: [(&str, &str); 4] =
    [("ingest", "waiting"), ("ingest", "processing"), ("alert", "waiting"), ("alert", "processing")];

/// The values of a metric that a selector chooses among the pipelines of a namespace. All of them or an error: a list that
/// lacks one would be a smaller sum, and an empty one has no meaning for whoever adds up.
pub(super) async fn values(
    queues: &Queues,
    namespace: &str,
    metric: Metric,
    selector: &Selector,
) -> Result<Value, Refusal> {
    let pipelines = queues.pipelines_of(namespace).map_err(refusal)?;
    let mut items = Vec::new();
    for pipeline in &pipelines {
        let labels = |queue, state| [("pipeline", pipeline.as_str()), ("queue", queue), ("state", state)];
        let is_chosen = |queue, state| selector.matches(&labels(queue, state));
        if !QUEUES.iter().any(|(queue, state)| is_chosen(queue, state)) {
            continue;
        }
        let reading = match queues.read(namespace, pipeline).await {
            // Deleted this moment.
            Err(QueuesError::Unknown(_)) => continue,
            reading => reading.map_err(refusal)?,
        };
        for queue in reading.queues.iter().filter(|queue| is_chosen(queue.queue, queue.state)) {
            let value = metric.quantity(queue).ok_or_else(|| {
                Kind::Unavailable.with(format!(
                    "the oldest element in {} ({}) of pipeline {namespace}/{pipeline} does not say when it was accepted",
                    queue.queue, queue.state
                ))
            })?;
            items.push(item(metric, &labels(queue.queue, queue.state), &reading, &value));
        }
    }
    if items.is_empty() {
        return Err(nothing(namespace, metric, &pipelines));
    }
    Ok(
        json!({"kind": "ExternalMetricValueList", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items}),
    )
}

fn item(metric: Metric, labels: &[(&str, &str)], reading: &Arc<Reading>, value: &str) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({"metricName": metric.name(), "metricLabels": labels, "timestamp": seconds(reading.at), "value": value})
}

/// RFC 3339 in seconds, as `metav1.Time` is written.
fn seconds(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// An error and no empty list: a HorizontalPodAutoscaler takes both as "no value", but only the error says why.
fn nothing(namespace: &str, metric: Metric, pipelines: &[String]) -> Refusal {
    let there = match pipelines {
        [] => "there is no MuttPipeline".to_owned(),
        names => shortened(&format!("there are the MuttPipelines {}", names.join(", ")), NAMES_CHARS_MAX),
    };
    Kind::NotFound.with(format!(
        "no series of {} in namespace {namespace} matches the selector: {there}; labels are pipeline, queue (ingest, \
         alert) and state (waiting, processing)",
        metric.name()
    ))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refusal(error: QueuesError) -> Refusal {
    match error {
        QueuesError::Unknown(_) | QueuesError::Unwatched(_) => Kind::NotFound.with(error.to_string()),
        QueuesError::Unlisted(_) | QueuesError::Away { .. } => Kind::Unavailable.with(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_canonical() {
        for (millis, text) in [(0, "0"), (2_000, "2"), (1_500, "1500m"), (7, "7m")] {
            assert_eq!(quantity(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn what_is_not_known_is_not_said_to_be_zero() {
        let queue = |depth, oldest_age| QueueState { queue: "ingest", state: "waiting", depth, oldest_age };
        assert_eq!(Metric::OldestAge.quantity(&queue(0, None)).as_deref(), Some("0"));
        assert_eq!(Metric::OldestAge.quantity(&queue(3, None)), None);
        assert_eq!(Metric::Depth.quantity(&queue(3, None)).as_deref(), Some("3"));
    }
}
