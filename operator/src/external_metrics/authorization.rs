//! Whether who asks may: the API server is asked by a SubjectAccessReview, and believed for some seconds.

use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::Semaphore;

use super::{
    authentication::Caller,
    status::{Kind, Refusal},
    target::{GROUP, Target, VERSION},
    verdicts::Verdicts,
};

/// Questions to the API server at the same time.
const REVIEWS_MAX: usize = 8;
/// Who may not waits so long, and with them one place of the above: every pod has a token, and could ask about namespaces
/// that there are not for ever. Others wait behind them for a moment, but are answered.
const FORBIDDEN_PAUSE: Duration = Duration::from_millis(100);

/// Finds out who may.
pub(super) struct Authorization {
    client: Client,
    /// `Err` = no, with the API server's reason.
    known: Verdicts<Result<(), String>>,
    reviews: Semaphore,
}

impl Authorization {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Verdicts::new(), reviews: Semaphore::new(REVIEWS_MAX) }
    }

    /// `Err` unless the API server says that the caller may.
    pub(super) async fn check(
        &self,
        caller: &Caller,
        verb: &str,
        path: &str,
        target: &Target<'_>,
    ) -> Result<(), Refusal> {
        let spec = question(caller, verb, path, target);
        let denied = |reason: String| {
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            Kind::Forbidden.with(format!(
                "{} is forbidden: User {:?} cannot {}{reason}",
                target.word(path),
                caller.user,
                asks(&spec)
            ))
        };
        let bytes = serde_json::to_vec(&spec).map_err(|error| Kind::Unavailable.with(error.to_string()))?;
        let key = Verdicts::<Result<(), String>>::question(&bytes);
        if let Some(known) = self.known.get(&key, Instant::now()) {
            return known.map_err(denied);
        }
        let _turn = self.reviews.acquire().await;
        let asked = Instant::now();
        if let Some(known) = self.known.get(&key, asked) {
            return known.map_err(denied);
        }
        let review = SubjectAccessReview { metadata: ObjectMeta::default(), spec: spec.clone(), status: None };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let answer: SubjectAccessReview = answer.map_err(|error| {
            tracing::warn!(%error, "the API server cannot be asked whether a request is allowed");
            Kind::Unavailable.with(format!("the API server does not say whether this is allowed: {error}"))
        })?;
        let status = answer.status.unwrap_or_default();
        let verdict =
            if status.allowed && status.denied != Some(true) { Ok(()) } else { Err(status.reason.unwrap_or_default()) };
        self.known.put(key, asked, verdict.clone());
        if verdict.is_err() {
            tokio::time::sleep(FORBIDDEN_PAUSE).await;
        }
        verdict.map_err(denied)
    }
}

fn question(caller: &Caller, verb: &str, path: &str, target: &Target<'_>) -> SubjectAccessReviewSpec {
    let text = |text: &str| Some(text.to_owned());
    let mut spec = SubjectAccessReviewSpec {
        user: text(&caller.user),
        uid: caller.uid.clone(),
        groups: Some(caller.groups.clone()),
        extra: Some(caller.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    match target {
        // As the API server sees it: a GET without an object's name lists.
        Target::Metric { namespace, metric } => {
            spec.resource_attributes = Some(ResourceAttributes {
                namespace: text(namespace),
                group: text(GROUP),
                version: text(VERSION),
                resource: text(metric),
                verb: text(if verb == "get" { "list" } else { verb }),
                ..ResourceAttributes::default()
            });
        }
        _ => {
            spec.non_resource_attributes = Some(NonResourceAttributes { path: text(path), verb: text(verb) });
        }
    }
    spec
}

/// What was asked for, in the words of the API server.
fn asks(spec: &SubjectAccessReviewSpec) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_default();
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(resource), _) => format!(
            "{} resource {:?} in API group {GROUP:?} in the namespace {:?}",
            or(&resource.verb),
            or(&resource.resource),
            or(&resource.namespace)
        ),
        (None, Some(path)) => format!("{} path {:?}", or(&path.verb), or(&path.path)),
        (None, None) => String::new(),
    }
}
