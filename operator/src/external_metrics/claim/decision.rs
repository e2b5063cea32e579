//! Whose the APIService is, and what is to be done about it. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition, ServiceReference},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::super::{Standing, labels, trust::Trust};
use crate::runtime::args::CertificateSource;

/// The APIService's name, which its group and version decide.
pub(super) const NAME: &str = "v1beta1.external.metrics.k8s.io";
const GROUP: &str = "external.metrics.k8s.io";
const VERSION: &str = "v1beta1";
/// Only matters among several groups that serve a resource of the same name, or versions of this one; there are none.
const PRIORITY: i32 = 100;
const PORT: i32 = 443;
const INJECTED_BY_CERT_MANAGER: &str = "cert-manager.io/inject-ca-from";
const INJECTED_BY_OPENSHIFT: &str = "service.beta.openshift.io/inject-cabundle";

/// Who claims it.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) source: CertificateSource,
    pub(super) secret: String,
    /// Told not to: what is ours is given up.
    pub(super) off: Option<String>,
}

/// What the claim depends on beside the APIService.
pub(super) struct Needs<'a> {
    pub(super) trust: &'a Trust,
    pub(super) owner: &'a Result<OwnerReference, String>,
    pub(super) wanted: bool,
    /// It has not been wanted, or could not be served, for so long that it is given up.
    pub(super) useless: bool,
    /// The API server would take it: it was asked.
    pub(super) may_create: bool,
    /// It was asked to, and refused; why, in words.
    pub(super) refused: Option<&'a str>,
    /// The API server did not reach us, so it is given up for a while; why, in words.
    pub(super) barred: Option<&'a str>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    /// Asks whether it would be created.
    Probe(Value),
    Create(Value),
    /// A merge patch that holds only for what was looked at.
    Patch(Value),
    Delete,
}

impl Claimant {
    /// Whether it is ours.
    pub(super) fn owns(&self, found: &APIService) -> bool {
        let service = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
        is_labelled(found)
            && service.is_some_and(|service| {
                service.namespace.as_deref() == Some(&self.namespace) && service.name.as_deref() == Some(&self.service)
            })
    }

    /// What is to be done, and who has the API.
    pub(super) fn decide(&self, found: Option<&APIService>, needs: &Needs<'_>) -> (Action, Standing) {
        let owned = found.filter(|found| self.owns(found));
        match (&self.off, found, owned) {
            (Some(why), _, Some(_)) => (Action::Delete, Standing::Off(why.clone())),
            (Some(why), ..) => (Action::Nothing, Standing::Off(why.clone())),
            (None, None, _) => self.take(needs),
            (None, Some(_), Some(owned)) => self.keep(owned, needs),
            (None, Some(foreign), None) => (Self::withdraw(foreign, needs), Standing::Taken(who(foreign))),
        }
    }

    fn take(&self, needs: &Needs<'_>) -> (Action, Standing) {
        if let Some(why) = needs.barred.or(needs.refused) {
            return (Action::Nothing, Standing::Off(why.to_owned()));
        }
        match (needs.trust, needs.owner) {
            (Trust::Unknown, _) => (Action::Nothing, Standing::Unknown),
            (Trust::Unserved(why), _) => (Action::Nothing, Standing::Off(why.clone())),
            (_, Err(why)) => (Action::Nothing, Standing::Off(format!("the APIService {why}"))),
            // Before it is said to be free: what is refused later would have pipelines turn to it and away again.
            (trust, Ok(owner)) if needs.wanted || !needs.may_create => {
                let mut object = self.wanted(trust, owner);
                object["metadata"]["name"] = json!(NAME);
                let object = without_nulls(object);
                (if needs.may_create { Action::Create(object) } else { Action::Probe(object) }, Standing::Free)
            }
            _ => (Action::Nothing, Standing::Free),
        }
    }

    fn keep(&self, found: &APIService, needs: &Needs<'_>) -> (Action, Standing) {
        if found.metadata.deletion_timestamp.is_some() {
            return (Action::Nothing, Standing::Unknown);
        }
        let standing = match (needs.barred, needs.trust) {
            (Some(why), _) => Standing::Off(why.to_owned()),
            (None, Trust::Unserved(why)) => Standing::Off(why.clone()),
            _ => Standing::Ours,
        };
        let action = match (needs.trust, needs.owner) {
            _ if needs.useless || needs.barred.is_some() => Action::Delete,
            (trust @ (Trust::Bundle(_) | Trust::Injected), Ok(owner)) => {
                let wanted = self.wanted(trust, owner);
                if has(found, &wanted) { Action::Nothing } else { Action::Patch(only_for(found, wanted)) }
            }
            _ => Action::Nothing,
        };
        (action, standing)
    }

    /// An APIService that was ours and was made another's keeps our owner reference, and would go with us: it is taken off.
    fn withdraw(foreign: &APIService, needs: &Needs<'_>) -> Action {
        let Ok(owner) = needs.owner else { return Action::Nothing };
        let owners = foreign.owner_references();
        if owners.iter().all(|other| other.uid != owner.uid) {
            return Action::Nothing;
        }
        let owners: Vec<_> = owners.iter().filter(|other| other.uid != owner.uid).collect();
        let ours = labels().into_iter().filter(|(key, value)| foreign.labels().get(key) == Some(value));
        let labels: Value = ours.map(|(key, _)| (key, Value::Null)).collect();
        Action::Patch(only_for(foreign, json!({"metadata": {"ownerReferences": owners, "labels": labels}})))
    }

    /// What it should hold; as a merge patch, what it should not hold is null.
    fn wanted(&self, trust: &Trust, owner: &OwnerReference) -> Value {
        let injected_from =
            (self.source == CertificateSource::CertManager).then(|| format!("{}/{}", self.namespace, self.secret));
        let injected = (self.source == CertificateSource::OpenShift).then_some("true");
        let service = ServiceReference {
            name: Some(self.service.clone()),
            namespace: Some(self.namespace.clone()),
            port: Some(PORT),
        };
        let mut wanted = json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "labels": labels(),
                "annotations": {INJECTED_BY_CERT_MANAGER: injected_from, INJECTED_BY_OPENSHIFT: injected},
                "ownerReferences": [owner],
            },
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": PRIORITY,
                "versionPriority": PRIORITY,
                "service": service,
                "insecureSkipTLSVerify": null,
            },
        });
        if let Trust::Bundle(bundle) = trust {
            wanted["spec"]["caBundle"] = json!(k8s_openapi::ByteString(bundle.clone()));
        }
        wanted
    }
}

fn is_labelled(found: &APIService) -> bool {
    let found = found.labels();
    labels().iter().all(|(key, value)| found.get(key) == Some(value))
}

/// Whether a merge patch would change nothing.
fn has(found: &APIService, wanted: &Value) -> bool {
    serde_json::to_value(found).is_ok_and(|found| includes(&found, wanted))
}

fn includes(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted.iter().all(|(key, value)| includes(&found[key], value)),
        // What is left out and what is false are the same for the API server.
        Value::Null => found.is_null() || *found == json!(false),
        wanted => found == wanted,
    }
}

/// A merge patch as what it makes of nothing.
fn without_nulls(patch: Value) -> Value {
    match patch {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(k, value)| (k, without_nulls(value)))
            .collect(),
        other => other,
    }
}

/// The patch is refused if the object is no longer the one that was looked at.
fn only_for(found: &APIService, mut patch: Value) -> Value {
    patch["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
    patch["metadata"]["uid"] = json!(found.metadata.uid);
    patch
}

/// Whose it is, in words.
fn who(foreign: &APIService) -> String {
    let label = |key: &str| foreign.labels().get(key).cloned();
    let service = foreign.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let service = service.map(|service| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("the Service {}/{}", part(&service.namespace), part(&service.name))
    });
    let named = if is_labelled(foreign) {
        Some("another MUTT operator".to_owned())
    } else {
        label("app.kubernetes.io/part-of").or_else(|| label("app.kubernetes.io/name"))
    };
    let who = match (named, service) {
        (Some(named), Some(service)) => format!("{named} ({service})"),
        (None, Some(service)) => service,
        (Some(named), None) => named,
        (None, None) => "the API server itself, by a CustomResourceDefinition".to_owned(),
    };
    match unavailable(foreign) {
        None => who,
        Some((reason, _)) => {
            format!("{who}, which does not serve it ({reason}); if that is a left-over, delete the APIService {NAME}")
        }
    }
}

/// Why the API server cannot reach who serves it: in one word, and in its own words.
pub(super) fn unavailable(found: &APIService) -> Option<(&str, &str)> {
    let available = available(found)?;
    let reason = available.reason.as_deref().unwrap_or("Unavailable");
    (available.status == "False").then_some((reason, available.message.as_deref().unwrap_or_default()))
}

/// Whether the API server reaches who serves it, as far as it has tried.
pub(super) fn is_available(found: &APIService) -> bool {
    available(found).is_some_and(|available| available.status == "True")
}

fn available(found: &APIService) -> Option<&APIServiceCondition> {
    found.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Available")
}
