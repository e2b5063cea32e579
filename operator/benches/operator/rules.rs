//! AlertRules of the measurement and what their statuses say.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::watcher::{self, Event, watcher},
};
use mutt_crds::AlertRule;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::process::LIMIT;

/// Requests in flight while many rules are applied.
const APPLY_AT_ONCE: usize = 8;

/// The rule of this number: four of five look for a text, the fifth for a regular expression. `form` makes forms differ.
pub(crate) fn rule(number: usize, form: usize) -> Value {
    let message = match number % 5 {
        0 => json!({"regex": format!(r"unit-{number}-{form} neighbor \d+\.\d+\.\d+\.\d+ (Down|lost)")}),
        _ => json!({"contains": format!("%BENCH-{number}-{form}: ")}),
    };
    json!({
        "apiVersion": "mutt.dev/v1alpha1",
        "kind": "AlertRule",
        "metadata": {
            "name": name(number),
            "namespace": "bench",
            "labels": {"pipeline": "core", "tenth": (number % 10).to_string()},
        },
        "spec": {
            "description": "made by the measurement",
            "priority": 100 + number % 900,
            "match": {"message": message, "hosts": ["core-*"]},
            "handling": {"production": "Page_and_ticket", "development": "Ticket_only"},
            "team": "NETO",
        },
    })
}

pub(crate) fn name(number: usize) -> String {
    format!("rule-{number:05}")
}

/// What is known of the rules' statuses, kept by a watch.
pub(crate) struct Rules {
    api: Api<AlertRule>,
    active: Arc<Mutex<HashMap<String, i64>>>,
    changed: watch::Receiver<()>,
}

impl Rules {
    pub(crate) fn watch(client: Client) -> Self {
        let api: Api<AlertRule> = Api::namespaced(client, "bench");
        let active: Arc<Mutex<HashMap<String, i64>>> = Arc::default();
        let (change, changed) = watch::channel(());
        let (seen, of) = (active.clone(), api.clone());
        tokio::spawn(async move {
            let mut events = pin!(watcher(of, watcher::Config::default()));
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(rule) | Event::InitApply(rule)) = event
                    && let Some(generation) = active_generation(&rule)
                {
                    let name = rule.metadata.name.unwrap();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name, generation);
                }
                change.send_replace(());
            }
        });
        Self { api, active, changed }
    }

    /// Applies one rule as `kubectl apply --server-side` does; gives its generation.
    pub(crate) async fn apply(&self, number: usize, form: usize) -> i64 {
        let parameters = PatchParams::apply("bench").force();
        let applied = self.api.patch(&name(number), &parameters, &Patch::Apply(rule(number, form))).await.unwrap();
        applied.metadata.generation.unwrap()
    }

    /// Applies many; gives their generations.
    pub(crate) async fn apply_all(&self, numbers: std::ops::Range<usize>, form: usize) -> HashMap<String, i64> {
        let applied = stream::iter(numbers).map(async |number| (name(number), self.apply(number, form).await));
        applied.buffer_unordered(APPLY_AT_ONCE).collect().await
    }

    /// Waits until all of these are active in at least these generations.
    pub(crate) async fn all_active(&self, wanted: &HashMap<String, i64>) {
        let mut changed = self.changed.clone();
        let wait = async {
            while self.missing(wanted) > 0 {
                changed.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(LIMIT, wait).await.is_ok();
        assert!(in_time, "{} of {} rules are not active after {LIMIT:?}", self.missing(wanted), wanted.len());
    }

    fn missing(&self, wanted: &HashMap<String, i64>) -> usize {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.iter().filter(|(name, generation)| active.get(*name).is_none_or(|active| active < generation)).count()
    }
}

/// The generation that is active on all alerters, if the current one is.
fn active_generation(rule: &AlertRule) -> Option<i64> {
    let active = rule.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Active")?;
    let generation = rule.metadata.generation?;
    (active.status == "True" && active.observed_generation == Some(generation)).then_some(generation)
}
