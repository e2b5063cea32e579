//! What scales a role: what the pipeline wants, as far as the cluster can do it.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};
use kube::ResourceExt;
use mutt_crds::{
    MuttPipeline,
    pipeline::{Autoscaling, AutoscalingMode as Mode, RateLimit},
};

use super::{
    Choice, Component, Fetched, Left, LeftTo, Problem, QueueTarget, Reason, Scale, Scaled, Scaler, problem::Problems,
};
use crate::external_metrics::Standing;

/// CPU use in percent of the request, where nothing else scales a role.
const CPU_PERCENT: i32 = 70;
/// What a pod of an alerter works off in two to five seconds.
const EVENTS_PER_ALERTER: i64 = 20_000;
/// What a forwarder works off in as long at a webhook that answers within a fifth of a second.
const ALERTS_PER_FORWARDER: i64 = 1_000;

/// What a decision depends on beside the role's own settings.
pub(super) struct Surroundings<'a> {
    pub(super) pipeline: &'a MuttPipeline,
    pub(super) fetched: &'a Fetched,
    /// Name of the role in the spec.
    pub(super) field: &'static str,
    /// Whether its pods request CPU.
    pub(super) requests_cpu: bool,
}

/// How many pods the role has, and what was decided about it.
pub(super) fn scale(
    component: Component,
    wanted: &Autoscaling,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> (Scale, Choice) {
    check(component, wanted, around, problems);
    let choice = around.choice(component, wanted);
    let left = |to| Scale::Left(Left { least: wanted.min_replicas, most: wanted.max_replicas, to });
    let scale = match choice.mode {
        _ if choice.obstacle.is_some() => left(LeftTo::Nobody),
        Mode::Auto => left(LeftTo::WhatIsThere),
        Mode::None if wanted.mode == Mode::None => left(LeftTo::Others),
        Mode::None => Scale::Fixed(around.least(component, wanted, Mode::None, problems)),
        mode => Scale::Scaled(Box::new(Scaled {
            scaler: match &around.question() {
                Some(url) if mode == Mode::Keda => Scaler::ScaledObject { url: url.clone() },
                _ => Scaler::HorizontalPodAutoscaler,
            },
            least: around.least(component, wanted, mode, problems),
            most: wanted.max_replicas,
            queue: if mode == Mode::Resource { None } else { queue_target(component, wanted) },
            cpu_percent: wanted.target_cpu_percent.or_else(|| by_cpu(component, mode).then_some(CPU_PERCENT)),
            behavior: behavior(wanted.behavior.as_ref()),
        })),
    };
    (scale, choice)
}

/// What no cluster could do, and what has no effect.
fn check(component: Component, wanted: &Autoscaling, around: &Surroundings<'_>, problems: &mut Problems) {
    let field = around.field;
    let cpu_in_any_case = wanted.target_cpu_percent.is_some() || by_cpu(component, wanted.mode);
    if cpu_in_any_case && wanted.mode != Mode::None && !around.requests_cpu {
        problems.add(Reason::MissingCpuRequest, needs_cpu_request(field));
    }
    let aims_at_queue = wanted.target_queue_depth.is_some() || wanted.target_queue_age_seconds.is_some();
    let aims_at_cpu = wanted.target_cpu_percent.is_some();
    for (idle, targets) in [
        (aims_at_queue && [Mode::Resource, Mode::None].contains(&wanted.mode), "targets of the queue have"),
        (aims_at_cpu && wanted.mode == Mode::None, "targetCpuPercent has"),
    ] {
        if idle {
            problems.warn(
                Reason::WithoutEffect,
                format!("spec.{field}.autoscaling: {targets} no effect with mode {:?}", wanted.mode),
            );
        }
    }
}

fn needs_cpu_request(field: &str) -> String {
    format!("spec.{field}.autoscaling aims at a share of the CPU request: set resources.requests.cpu")
}

/// Whether CPU is what scales the role in this mode, wanted or not.
fn by_cpu(component: Component, mode: Mode) -> bool {
    match mode {
        Mode::Resource => true,
        Mode::Auto | Mode::Keda => queue_of(component).is_none(),
        Mode::External | Mode::None => false,
    }
}

/// The queue that a role works off, as the metrics call it.
const fn queue_of(component: Component) -> Option<&'static str> {
    match component {
        Component::Alerter => Some("ingest"),
        Component::Forwarder => Some("alert"),
        Component::Ingestor | Component::WebUi | Component::Database => None,
    }
}

fn queue_target(component: Component, wanted: &Autoscaling) -> Option<QueueTarget> {
    let default = if component == Component::Forwarder { ALERTS_PER_FORWARDER } else { EVENTS_PER_ALERTER };
    Some(QueueTarget {
        queue: queue_of(component)?,
        depth: wanted.target_queue_depth.unwrap_or(default),
        age_seconds: wanted.target_queue_age_seconds,
    })
}

impl Surroundings<'_> {
    fn choice(&self, component: Component, wanted: &Autoscaling) -> Choice {
        let as_set = |mode| Choice { mode, why: "as set".to_owned(), obstacle: None };
        match wanted.mode {
            Mode::Auto => self.automatic(component),
            Mode::Keda => Choice { obstacle: self.keda().err().map(|why| self.obstacle(why)), ..as_set(Mode::Keda) },
            Mode::External if self.fetched.external_metrics == Standing::Unknown => not_yet_known(),
            Mode::External => {
                let obstacle = if queue_of(component).is_none() {
                    Some(self.obstacle((Reason::InvalidSettings, "this role works off no queue".to_owned())))
                } else {
                    let taken = |why| self.obstacle((Reason::ExternalMetricsNotServed, why));
                    self.fetched.external_metrics.serves().err().map(taken)
                };
                Choice { obstacle, ..as_set(Mode::External) }
            }
            Mode::Resource | Mode::None => as_set(wanted.mode),
        }
    }

    fn automatic(&self, component: Component) -> Choice {
        let chosen = |mode, why: String| Choice { mode, why, obstacle: None };
        if queue_of(component).is_none() {
            return chosen(Mode::Resource, "it works off no queue".to_owned());
        }
        let RateLimit { alerts, period_seconds } = self.pipeline.spec.moogsoft.rate_limit;
        if component == Component::Forwarder && alerts > 0 {
            let why =
                format!("more forwarders send no more than the rate limit, {alerts} alerts per {period_seconds} s");
            return chosen(Mode::None, why);
        }
        let no_keda = match self.keda() {
            Ok(()) => return chosen(Mode::Keda, "KEDA is installed".to_owned()),
            Err((_, why)) => why,
        };
        match self.fetched.external_metrics.serves() {
            _ if self.fetched.external_metrics == Standing::Unknown => not_yet_known(),
            Ok(()) => chosen(Mode::External, no_keda),
            Err(why) => {
                let obstacle = (Reason::MissingCpuRequest, needs_cpu_request(self.field));
                let obstacle = (!self.requests_cpu).then(|| self.obstacle(obstacle));
                Choice { obstacle, ..chosen(Mode::Resource, format!("{no_keda}, and {why}")) }
            }
        }
    }

    /// Whether KEDA can scale; else why not.
    fn keda(&self) -> Result<(), (Reason, String)> {
        if !self.fetched.served.keda {
            return Err((Reason::KedaNotServed, "KEDA is not installed".to_owned()));
        }
        let unasked = || "KEDA has no Service to ask this operator at (flag --service)".to_owned();
        self.fetched.operator_url.as_ref().map(drop).ok_or_else(|| (Reason::KedaCannotAsk, unasked()))
    }

    fn obstacle(&self, (reason, why): (Reason, String)) -> Problem {
        let message = match reason {
            Reason::MissingCpuRequest => why,
            _ => format!(
                "{why}; change that, or set spec.{}.autoscaling.mode to Auto; until then the pods stay as many as they are",
                self.field
            ),
        };
        Problem { reason, message }
    }

    /// Where the operator answers for this pipeline.
    fn question(&self) -> Option<String> {
        let base = self.fetched.operator_url.as_ref()?;
        let namespace = self.pipeline.namespace().unwrap_or_default();
        Some(format!("{base}/scaling/{namespace}/{}", self.pipeline.name_any()))
    }

    /// Fewest pods: none only where something sees that some are needed again.
    fn least(&self, component: Component, wanted: &Autoscaling, mode: Mode, problems: &mut Problems) -> i32 {
        if wanted.min_replicas > 0 {
            return wanted.min_replicas;
        }
        let why = match mode {
            Mode::Keda if queue_of(component).is_some() => return 0,
            Mode::External if self.fetched.scale_to_zero == Some(true) => return 0,
            Mode::External if self.fetched.scale_to_zero.is_none() => {
                "the API server could not be asked whether a HorizontalPodAutoscaler may do that; it is asked again"
            }
            Mode::External => {
                "a HorizontalPodAutoscaler of this cluster cannot do that; it takes KEDA, or Kubernetes 1.37 (before: the feature gate HPAScaleToZero)"
            }
            Mode::None => "the rate limit leaves it unscaled",
            Mode::Auto | Mode::Keda | Mode::Resource => "scaled by CPU it would never come back",
        };
        problems.warn(
            Reason::ScaleToZeroNotServed,
            format!("spec.{}.autoscaling.minReplicas: one pod stays, not 0: {why}", self.field),
        );
        1
    }
}

fn not_yet_known() -> Choice {
    let why = "who serves external.metrics.k8s.io is not known yet".to_owned();
    Choice { mode: Mode::Auto, why, obstacle: None }
}

/// Up at once: a queue that grows is full soon. Down slowly: pods that are still busy with a storm's rest are needed, and one that
/// comes back costs more than one that stays. What is set for one direction leaves the other as it is.
fn behavior(wanted: Option<&HorizontalPodAutoscalerBehavior>) -> HorizontalPodAutoscalerBehavior {
    let wanted = wanted.cloned().unwrap_or_default();
    HorizontalPodAutoscalerBehavior {
        scale_up: wanted.scale_up.or_else(|| Some(rules(0, &[("Percent", 100, 15), ("Pods", 4, 15)]))),
        scale_down: wanted.scale_down.or_else(|| Some(rules(300, &[("Percent", 10, 60), ("Pods", 1, 60)]))),
    }
}

/// The policy that changes most counts.
fn rules(window_seconds: i32, policies: &[(&str, i32, i32)]) -> HPAScalingRules {
    let policy = |&(type_, value, period_seconds): &(&str, i32, i32)| HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds,
    };
    HPAScalingRules {
        policies: Some(policies.iter().map(policy).collect()),
        select_policy: Some("Max".to_owned()),
        stabilization_window_seconds: Some(window_seconds),
        tolerance: None,
    }
}
