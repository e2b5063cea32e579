//! The kinds of children where their Rust types do not matter: what is watched, applied and removed as an orphan. Made from the one
//! list in `build`.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    core::v1::{Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{ResourceExt, core::ApiResource};
use serde_json::Value;

use super::build::{
    Child, Children, Prepared, for_each_child_kind,
    foreign::{PrometheusRule, Route, ScaledObject, ServiceMonitor},
};
use super::resolve::Left;
use crate::runtime::discovery::Served;

/// A child as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// All of it.
    pub object: Value,
}

/// [`Children`] without their Rust types.
#[derive(Debug, Clone, PartialEq)]
pub struct InOrder {
    /// All of them.
    pub wanted: Vec<Wanted>,
    /// As in [`Children`].
    pub held_back: Vec<String>,
    /// As in [`Children`].
    pub left: BTreeMap<String, Left>,
}

macro_rules! kinds {
    ($($field:ident: $kind:ident, $served:expr;)*) => {
        /// A kind of object that a pipeline may own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ChildKind {
            $(
                #[doc = concat!("`", stringify!($kind), "`.")]
                $kind,
            )*
        }

        impl ChildKind {
            /// All of them, in the order in which they are applied.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What the API calls it.
            pub fn resource(self) -> ApiResource {
                match self {
                    $(Self::$kind => ApiResource::erase::<$kind>(&()),)*
                }
            }

            /// Whether the cluster serves it.
            pub fn is_served(self, served: Served) -> bool {
                match self {
                    $(Self::$kind => <$kind as Child>::is_served(served),)*
                }
            }
        }

        impl fmt::Display for ChildKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$kind => stringify!($kind),)*
                })
            }
        }

        /// The children one by one, in the order in which they are applied.
        pub fn in_order(children: Children<Prepared>) -> Result<InOrder, serde_json::Error> {
            let Children { $($field,)* held_back, left, state: _ } = children;
            let mut wanted = Vec::new();
            $(
                for object in $field {
                    let name = object.name_any();
                    wanted.push(Wanted { kind: ChildKind::$kind, name, object: serde_json::to_value(object)? });
                }
            )*
            Ok(InOrder { wanted, held_back, left })
        }
    };
}
for_each_child_kind!(kinds);

impl ChildKind {
    /// Whether it says how many pods a Deployment has.
    pub fn is_autoscaler(self) -> bool {
        matches!(self, Self::HorizontalPodAutoscaler | Self::ScaledObject)
    }

    /// Whether it belongs to another project, whose definition may be older or newer than what is written here.
    pub fn is_optional(self) -> bool {
        !self.is_served(Served::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_another_project_may_be_missing() {
        let optional: Vec<_> = ChildKind::ALL.iter().filter(|kind| kind.is_optional()).collect();
        let expected =
            [ChildKind::ScaledObject, ChildKind::Route, ChildKind::ServiceMonitor, ChildKind::PrometheusRule];
        assert_eq!(optional, expected.iter().collect::<Vec<_>>());
    }
}
