#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::*;
use crate::runtime::args::CertificateSource;

fn claimant(source: CertificateSource) -> Claimant {
    Claimant {
        namespace: "mutt".to_owned(),
        service: "rel-external-metrics".to_owned(),
        source,
        secret: "rel-external-metrics-tls".to_owned(),
        off: None,
    }
}

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: "rel-external-metrics".to_owned(),
        uid: "1".to_owned(),
        ..OwnerReference::default()
    }
}

fn bundle() -> Trust {
    Trust::Bundle(b"CA".to_vec())
}

/// It is wanted, of use, and may be made.
fn wanted<'a>(trust: &'a Trust, owner: &'a Result<OwnerReference, String>) -> Needs<'a> {
    Needs { trust, owner, wanted: true, useless: false, barred: None, may_create: true, refused: None }
}

/// What was created, as the API server would hold it.
fn created(action: Action) -> APIService {
    let Action::Create(mut object) = action else { panic!("{action:?}") };
    object["metadata"]["uid"] = json!("2");
    object["metadata"]["resourceVersion"] = json!("7");
    serde_json::from_value(object).unwrap()
}

fn patched(found: &APIService, patch: &Value) -> Value {
    fn merge(into: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *into = patch.clone();
            return;
        };
        if !into.is_object() {
            *into = json!({});
        }
        for (key, value) in patch {
            if value.is_null() {
                into.as_object_mut().unwrap().remove(key);
            } else {
                merge(&mut into[key], value);
            }
        }
    }
    let mut object = serde_json::to_value(found).unwrap();
    merge(&mut object, patch);
    object
}

#[test]
fn a_free_api_is_taken_only_while_it_is_wanted_and_can_be_served() {
    let (claimant, good, missing) =
        (claimant(CertificateSource::Own), Ok(owner()), Err("cannot be made: …".to_owned()));
    let off = |why: &str| Standing::Off(why.to_owned());
    for (case, trust, owner, wanted, takes, stands) in [
        ("wanted", bundle(), &good, true, true, Standing::Free),
        ("not wanted", bundle(), &good, false, false, Standing::Free),
        ("just started", Trust::Unknown, &good, true, false, Standing::Unknown),
        ("no certificate", Trust::Unserved("none".to_owned()), &good, true, false, off("none")),
        ("no owner", bundle(), &missing, true, false, off("the APIService cannot be made: …")),
    ] {
        let (action, standing) = claimant.decide(
            None,
            &Needs { trust: &trust, owner, wanted, useless: !wanted, barred: None, may_create: true, refused: None },
        );
        assert_eq!((matches!(action, Action::Create(_)), standing), (takes, stands), "{case}");
    }
}

/// Pipelines turn to it and away again as it is said to be free or not: it must not depend on them.
#[test]
fn what_was_refused_is_off_wanted_or_not_and_nothing_is_said_to_be_free_unasked() {
    let (claimant, owner, trust) = (claimant(CertificateSource::Own), Ok(owner()), bundle());
    for is_wanted in [true, false] {
        let asked = Needs { wanted: is_wanted, may_create: false, ..wanted(&trust, &owner) };
        let (action, standing) = claimant.decide(None, &asked);
        assert!(matches!(action, Action::Probe(_)) && standing == Standing::Free, "{action:?}");
        let refused = Needs { refused: Some("denied"), ..asked };
        assert_eq!(claimant.decide(None, &refused), (Action::Nothing, Standing::Off("denied".to_owned())));
    }
}

#[test]
fn what_is_ours_is_kept_right_and_given_up_when_it_is_of_no_use() {
    let (claimant, owner, trust) = (claimant(CertificateSource::Own), Ok(owner()), bundle());
    let needs = |useless| Needs { useless, ..wanted(&trust, &owner) };
    let ours = created(claimant.decide(None, &needs(false)).0);
    assert_eq!(claimant.decide(Some(&ours), &needs(false)), (Action::Nothing, Standing::Ours));
    assert_eq!(claimant.decide(Some(&ours), &needs(true)), (Action::Delete, Standing::Ours));
    let unserved = Trust::Unserved("expired".to_owned());
    let cannot = wanted(&unserved, &owner);
    assert_eq!(claimant.decide(Some(&ours), &cannot), (Action::Nothing, Standing::Off("expired".to_owned())));
    let barred = Needs { barred: Some("no way"), ..needs(false) };
    assert_eq!(claimant.decide(Some(&ours), &barred), (Action::Delete, Standing::Off("no way".to_owned())));
    assert_eq!(claimant.decide(None, &barred), (Action::Nothing, Standing::Off("no way".to_owned())));
    let off = Claimant { off: Some("told so".to_owned()), ..claimant.clone() };
    assert_eq!(off.decide(Some(&ours), &needs(false)), (Action::Delete, Standing::Off("told so".to_owned())));
    for change in [
        json!({"spec": {"caBundle": "bmV3"}}),
        json!({"spec": {"groupPriorityMinimum": 1}}),
        json!({"spec": {"service": {"port": 444}}}),
        json!({"spec": {"insecureSkipTLSVerify": true}}),
        json!({"metadata": {"ownerReferences": []}}),
        json!({"metadata": {"annotations": {"service.beta.openshift.io/inject-cabundle": "true"}}}),
    ] {
        let changed: APIService = serde_json::from_value(patched(&ours, &change)).unwrap();
        let (action, standing) = claimant.decide(Some(&changed), &needs(false));
        let Action::Patch(patch) = action else { panic!("{change}: {action:?}") };
        assert_eq!(standing, Standing::Ours);
        let right: APIService = serde_json::from_value(patched(&changed, &patch)).unwrap();
        assert_eq!(claimant.decide(Some(&right), &needs(false)).0, Action::Nothing, "{change}");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }
}

#[test]
fn who_injects_the_bundle_is_named_and_not_fought_with() {
    let owner = Ok(owner());
    let trust = Trust::Injected;
    let needs = wanted(&trust, &owner);
    for (source, annotation, value) in [
        (CertificateSource::CertManager, "cert-manager.io/inject-ca-from", "mutt/rel-external-metrics-tls"),
        (CertificateSource::OpenShift, "service.beta.openshift.io/inject-cabundle", "true"),
    ] {
        let claimant = claimant(source);
        let ours = created(claimant.decide(None, &needs).0);
        assert_eq!(ours.annotations()[annotation], value);
        let injected = patched(&ours, &json!({"spec": {"caBundle": "bmV3"}}));
        let injected = serde_json::from_value(injected).unwrap();
        assert_eq!(claimant.decide(Some(&injected), &needs), (Action::Nothing, Standing::Ours), "{source:?}");
    }
}

#[test]
fn what_is_another_s_is_named_and_left_alone() {
    let (claimant, owner, trust) = (claimant(CertificateSource::Own), Ok(owner()), bundle());
    let needs = Needs { useless: true, ..wanted(&trust, &owner) };
    let foreign = |metadata: Value, service: Value, status: Value| -> APIService {
        let spec =
            json!({"group": "g", "version": "v", "groupPriorityMinimum": 1, "versionPriority": 1, "service": service});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    };
    let service = json!({"namespace": "keda", "name": "keda-metrics"});
    let ours = json!({"namespace": "mutt", "name": "rel-external-metrics"});
    let mutt = json!({"app.kubernetes.io/managed-by": "mutt-operator", "app.kubernetes.io/part-of": "mutt"});
    let dead = json!({"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]});
    for (case, found, who) in [
        ("no labels", foreign(json!({}), service.clone(), json!({})), "the Service keda/keda-metrics"),
        (
            "KEDA",
            foreign(json!({"labels": {"app.kubernetes.io/part-of": "keda-operator"}}), service.clone(), json!({})),
            "keda-operator (the Service keda/keda-metrics)",
        ),
        (
            "a second installation",
            foreign(json!({"labels": mutt}), json!({"namespace": "first", "name": "m"}), json!({})),
            "another MUTT operator (the Service first/m)",
        ),
        ("by hand", foreign(json!({}), ours, json!({})), "the Service mutt/rel-external-metrics"),
        (
            "a left-over",
            foreign(json!({}), service.clone(), dead),
            "the Service keda/keda-metrics, which does not serve it (ServiceNotFound); if that is a left-over, delete the APIService v1beta1.external.metrics.k8s.io",
        ),
        ("local", foreign(json!({}), Value::Null, json!({})), "the API server itself, by a CustomResourceDefinition"),
    ] {
        assert_eq!(claimant.decide(Some(&found), &needs), (Action::Nothing, Standing::Taken(who.to_owned())), "{case}");
    }
}

#[test]
fn one_that_was_ours_and_is_another_s_now_does_not_go_with_us() {
    let (claimant, owner, trust) = (claimant(CertificateSource::Own), Ok(owner()), bundle());
    let needs = wanted(&trust, &owner);
    let ours = created(claimant.decide(None, &needs).0);
    // As `kubectl apply` of another adapter leaves it.
    let change = json!({
        "metadata": {"labels": {"app.kubernetes.io/part-of": "keda-operator"}},
        "spec": {"service": {"namespace": "keda", "name": "keda-metrics"}},
    });
    let taken: APIService = serde_json::from_value(patched(&ours, &change)).unwrap();
    let (action, standing) = claimant.decide(Some(&taken), &needs);
    assert_eq!(standing, Standing::Taken("keda-operator (the Service keda/keda-metrics)".to_owned()));
    let Action::Patch(patch) = action else { panic!("{action:?}") };
    let left: APIService = serde_json::from_value(patched(&taken, &patch)).unwrap();
    assert!(left.owner_references().is_empty());
    assert_eq!(left.spec, taken.spec);
    assert_eq!(left.labels().len(), 1);
    assert_eq!(claimant.decide(Some(&left), &needs).0, Action::Nothing);
}
