//! How many pods a role has, and who says so.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use mutt_crds::pipeline::AutoscalingMode;

use super::Problem;

/// How many pods of a role.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// So many.
    Fixed(i32),
    /// As an autoscaler says.
    Scaled(Box<Scaled>),
    /// As others say.
    Left(Left),
}

impl Scale {
    /// Fewest pods that are wanted.
    pub fn least(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled(scaled) => scaled.least,
            Self::Left(left) => left.least,
        }
    }

    /// Most pods that are wanted.
    pub fn most(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled(scaled) => scaled.most,
            Self::Left(left) => left.most,
        }
    }
}

/// An autoscaler, with every default applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    /// What it is.
    pub scaler: Scaler,
    /// Fewest pods.
    pub least: i32,
    /// Most pods.
    pub most: i32,
    /// What it aims at in the role's queue.
    pub queue: Option<QueueTarget>,
    /// CPU use of a pod that it aims at, in percent of its request.
    pub cpu_percent: Option<i32>,
    /// How fast.
    pub behavior: HorizontalPodAutoscalerBehavior,
}

/// Kind of an autoscaler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scaler {
    /// A HorizontalPodAutoscaler; it asks the operator for the queue, if it aims at one.
    HorizontalPodAutoscaler,
    /// A ScaledObject of KEDA, which asks the operator at this URL.
    ScaledObject {
        /// Answers with the pipeline's queues.
        url: String,
    },
}

/// What an autoscaler aims at in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTarget {
    /// `ingest` or `alert`.
    pub queue: &'static str,
    /// Elements for each pod, waiting or in processing.
    pub depth: i64,
    /// Age of the oldest waiting element.
    pub age_seconds: Option<i64>,
}

/// A number of pods that this operator does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// With so many a new Deployment begins.
    pub least: i32,
    /// Most pods, if the others keep to it.
    pub most: i32,
    /// Who are the others?
    pub to: LeftTo,
}

/// Who says how many pods there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftTo {
    /// Somebody, as the pipeline wants it.
    Others,
    /// Nobody, since what the pipeline wants cannot be: it keeps its pods.
    Nobody,
    /// The autoscaler that is there, if there is one: what this cluster can do is not known yet.
    WhatIsThere,
}

/// What scales a role that has `autoscaling`, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What scales it; Auto = not decided yet.
    pub mode: AutoscalingMode,
    /// In words.
    pub why: String,
    /// Why it does not scale it, and what to do.
    pub obstacle: Option<Problem>,
}
