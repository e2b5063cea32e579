//! The kinds of children, written down once, and the struct that carries them from step to step.

use std::{collections::BTreeMap, fmt::Debug, marker::PhantomData};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::{CronJob, Job},
        core::v1::{Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
    },
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};

use super::foreign::{PrometheusRule, Route, ScaledObject, ServiceMonitor};
use crate::{pipeline::resolve::Left, runtime::discovery::Served};

/// A kind of object that a pipeline owns.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + PartialEq
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Whether the cluster serves the kind; if not, it can neither be watched nor listed nor applied.
    fn is_served(served: Served) -> bool;
}

/// Made by build, not yet seen by the API server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prepared;

/// As the API server answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied;

/// Calls `$then! { field: Kind, |served| …; … }` with every kind of child, in the order in which they are applied: what pods
/// need first, what runs pods next, what points to them last. The only list of kinds: struct, apply, orphans and watches
/// are made from it.
macro_rules! for_each_child_kind {
    ($then:ident) => {
        $then! {
            service_accounts: ServiceAccount, |_| true;
            network_policies: NetworkPolicy, |_| true;
            services: Service, |_| true;
            jobs: Job, |_| true;
            deployments: Deployment, |_| true;
            horizontal_pod_autoscalers: HorizontalPodAutoscaler, |_| true;
            scaled_objects: ScaledObject, |served| served.keda;
            pod_disruption_budgets: PodDisruptionBudget, |_| true;
            cron_jobs: CronJob, |_| true;
            ingresses: Ingress, |_| true;
            routes: Route, |served| served.route;
            service_monitors: ServiceMonitor, |served| served.service_monitor;
            prometheus_rules: PrometheusRule, |served| served.prometheus_rule;
        }
    };
}
pub(crate) use for_each_child_kind;

macro_rules! children {
    ($($field:ident: $kind:ident, $served:expr;)*) => {
        /// All children of a pipeline, one field per kind. Take it apart without `..`, so that a new kind cannot be forgotten.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Children<S> {
            $(
                #[doc = concat!("Of kind `", stringify!($kind), "`.")]
                pub $field: Vec<$kind>,
            )*
            /// Names of Deployments that wait for the schema's Job among `jobs` and are therefore not in `deployments`. One that
            /// exists keeps running as it is: it is neither changed nor an orphan.
            pub held_back: Vec<String>,
            /// By the Deployment's name: numbers of pods that neither the Deployment nor an autoscaler among these children says.
            pub left: BTreeMap<String, Left>,
            /// How far they are.
            pub state: PhantomData<S>,
        }

        impl<S> Default for Children<S> {
            fn default() -> Self {
                Self { $($field: Vec::new(),)* held_back: Vec::new(), left: BTreeMap::new(), state: PhantomData }
            }
        }

        $(
            impl Child for $kind {
                fn is_served(served: Served) -> bool {
                    let decide: fn(Served) -> bool = $served;
                    decide(served)
                }
            }
        )*
    };
}
for_each_child_kind!(children);
