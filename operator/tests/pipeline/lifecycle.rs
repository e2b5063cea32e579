//! From a new pipeline to one that runs, and what may be in between.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use mutt_crds::{MuttPipeline, definition};
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::json;

use super::{
    api::{install, install_one},
    harness::{Operator, Site, admin, eventually, shared, spec},
};

#[tokio::test]
async fn a_new_pipeline_says_at_once_that_it_is_looked_at_and_in_the_end_that_it_runs() {
    let site = Site::new("lifecycle-new").await;
    site.pipeline("core", &spec("new")).await;
    let operator = site.operator().await;
    site.condition("core", "Progressing", "True", "MigratingDatabase").await;
    site.condition("core", "Ready", "False", "MigratingDatabase").await;
    site.everything_runs(&operator, "core").await;
    let pipeline = site.get::<MuttPipeline>("core").await.unwrap();
    let status = pipeline.status.unwrap();
    assert_eq!(status.observed_generation, pipeline.metadata.generation);
    let names: Vec<_> = status.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["ingestor", "alerter", "forwarder", "webui"]);
    assert!(status.components.iter().all(|role| (role.desired, role.ready, role.updated) == (2, 2, 2)));
    let rules = status.rules.unwrap();
    assert_eq!((rules.accepted, rules.active.as_str(), rules.revision.as_str()), (3, "2/2", "3f1c0a9be217"));
    site.condition("core", "RulesActive", "True", "AllActive").await;
    site.condition("core", "AutoscalingReady", "True", "None").await;
    site.condition("core", "Degraded", "False", "AsExpected").await;
    site.condition("core", "Progressing", "False", "Complete").await;
    operator.stop().await;
}

#[tokio::test]
async fn alerter_and_web_ui_wait_for_the_schema_and_keep_their_form_while_a_new_one_is_made() {
    let site = Site::new("lifecycle-schema").await;
    site.pipeline("core", &spec("schema")).await;
    let operator = site.operator().await;
    for name in ["core-ingestor", "core-forwarder"] {
        site.exists(ChildKind::Deployment, name).await;
    }
    let message = site.condition("core", "Progressing", "True", "MigratingDatabase").await;
    assert!(message.contains("core-database"), "{message}");
    for name in ["core-alerter", "core-webui"] {
        assert!(site.get::<Deployment>(name).await.is_none(), "{name} does not wait");
    }
    site.everything_runs(&operator, "core").await;

    // Another image: its schema first.
    let mut newer = spec("schema");
    newer["image"] = json!("registry.example.com/mutt/worker:next");
    site.pipeline("core", &newer).await;
    site.condition("core", "Progressing", "True", "MigratingDatabase").await;
    let image = async |name: &str| {
        let deployment = site.get::<Deployment>(name).await.unwrap();
        deployment.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap()
    };
    assert_ne!(image("core-alerter").await, "registry.example.com/mutt/worker:next");
    site.condition("core", "Ready", "True", "Running").await;
    site.migrated("core").await;
    eventually("the alerters are of the new form", async || {
        (image("core-alerter").await == "registry.example.com/mutt/worker:next").then_some(())
    })
    .await;
    for role in ["ingestor", "alerter", "forwarder", "webui"] {
        site.runs(&format!("core-{role}")).await;
    }
    site.condition("core", "Progressing", "False", "Complete").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_more_is_needed_than_to_make_it() {
    let site = Site::new("lifecycle-secret").await;
    site.api::<Secret>().delete("mutt-moog", &DeleteParams::default()).await.unwrap();
    site.pipeline("core", &spec("secret")).await;
    let operator = site.operator().await;
    let message = site.condition("core", "Degraded", "True", "MissingSecret").await;
    assert!(message.contains("mutt-moog"), "{message}");
    site.condition("core", "Ready", "False", "MissingSecret").await;
    assert!(site.all_children("core").await.is_empty(), "nothing is made by halves");
    site.secret("mutt-moog", "ANOTHER_KEY").await;
    let message = site.condition("core", "Degraded", "True", "MissingSecretKey").await;
    assert!(message.contains("MOOG_API_KEY"), "{message}");
    let key = json!({"stringData": {"MOOG_API_KEY": "key"}});
    site.meddle(&site.api::<Secret>(), "mutt-moog", &key).await;
    site.exists(ChildKind::Deployment, "core-forwarder").await;
    site.condition("core", "Degraded", "False", "AsExpected").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_paused_pipeline_is_looked_at_and_left_alone() {
    let site = Site::new("lifecycle-paused").await;
    site.pipeline("core", &spec("paused")).await;
    let operator = site.operator().await;
    site.everything_runs(&operator, "core").await;
    let mut paused = spec("paused");
    paused["paused"] = json!(true);
    paused["ingestor"]["replicas"] = json!(7);
    paused["webUi"] = serde_json::Value::Null;
    site.pipeline("core", &paused).await;
    site.condition("core", "Progressing", "False", "Paused").await;
    site.condition("core", "Ready", "True", "Paused").await;
    site.children(ChildKind::Service).delete("core-ingestor", &DeleteParams::default()).await.unwrap();
    // Its status stays fresh.
    let status = json!({"status": {"readyReplicas": 1, "availableReplicas": 1}});
    let deployments: Api<Deployment> = site.api();
    deployments.patch_status("core-forwarder", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    site.condition("core", "Ready", "False", "PodsNotReady").await;
    assert_eq!(deployments.get("core-ingestor").await.unwrap().spec.unwrap().replicas, Some(2));
    assert!(site.children(ChildKind::Service).get_opt("core-ingestor").await.unwrap().is_none());
    assert!(site.get::<Deployment>("core-webui").await.is_some());
    site.pipeline("core", &spec("paused")).await;
    site.exists(ChildKind::Service, "core-ingestor").await;
    operator.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_pods_is_said_in_words() {
    let site = Site::new("lifecycle-pods").await;
    site.pipeline("core", &spec("pods")).await;
    let operator = site.operator().await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    let template = site.api::<Deployment>().get("core-ingestor").await.unwrap().spec.unwrap().template;
    // Pods of a namespace without its account are refused; nobody runs this one.
    let mut pod = json!({"metadata": {"name": "core-ingestor-1", "labels": template.metadata.unwrap().labels}, "spec": {
        "containers": [{"name": "mutt", "image": "none"}], "automountServiceAccountToken": false,
    }});
    let account = template.spec.unwrap().service_account_name;
    pod["spec"]["serviceAccountName"] = json!(account);
    let pods: Api<k8s_openapi::api::core::v1::Pod> = site.api();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = json!({"status": {"containerStatuses": [{
        "name": "mutt", "image": "none", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
    }]}});
    pods.patch_status("core-ingestor-1", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    // Pods are not watched; while something does not run, they are looked at every few seconds.
    let message = site.condition("core", "Degraded", "True", "PodsFailing").await;
    assert!(message.contains("core-ingestor-1: ImagePullBackOff: no such image"), "{message}");
    operator.stop().await;
}

#[tokio::test]
async fn the_younger_of_two_pipelines_with_the_same_keys_is_not_started() {
    let site = Site::new("lifecycle-keys").await;
    site.pipeline("older", &spec("shared-keys")).await;
    let operator = site.operator().await;
    site.exists(ChildKind::Deployment, "older-ingestor").await;
    // The creation time has seconds; within one, the UID decides. What is asked for without being written has a time, too.
    let older = site.get::<MuttPipeline>("older").await.unwrap().creation_timestamp();
    let map = serde_json::from_value(json!({"metadata": {"name": "time"}})).unwrap();
    let asked = PostParams { dry_run: true, ..PostParams::default() };
    eventually("a second later", async || {
        (site.api::<ConfigMap>().create(&asked, &map).await.unwrap().creation_timestamp() > older).then_some(())
    })
    .await;
    // The same Redis, written differently.
    let mut same = spec("shared-keys");
    same["redis"]["url"] = "redis://Redis:6379/0".into();
    site.pipeline("younger", &same).await;
    let message = site.condition("younger", "Degraded", "True", "KeyPrefixInUse").await;
    assert!(message.contains("lifecycle-keys/older"), "{message}");
    assert!(site.all_children("younger").await.is_empty());
    site.condition("older", "Degraded", "False", "AsExpected").await;
    // When the older one goes, its place is free.
    site.api::<MuttPipeline>().delete("older", &DeleteParams::background()).await.unwrap();
    site.exists(ChildKind::Deployment, "younger-ingestor").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_deleted_pipeline_is_not_looked_after() {
    let site = Site::new("lifecycle-deleted").await;
    site.pipeline("core", &spec("deleted")).await;
    let operator = site.operator().await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    // In the foreground: it stays, ending, until the garbage collector (which does not run here) has deleted the children.
    site.api::<MuttPipeline>().delete("core", &DeleteParams::foreground()).await.unwrap();
    site.children(ChildKind::Deployment).delete("core-ingestor", &DeleteParams::background()).await.unwrap();
    site.pipeline("next", &spec("deleted-next")).await;
    site.exists(ChildKind::Deployment, "next-ingestor").await;
    assert!(
        site.get::<Deployment>("core-ingestor").await.is_none(),
        "a child of a pipeline that ends is not made again"
    );
    operator.stop().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stops_no_other() {
    // With a control plane of its own: the definition is changed.
    let cluster = mutt_cluster::ControlPlane::start().await.unwrap();
    let client = admin(&cluster).await;
    let mut loose = definition::typed().unwrap();
    for definition in &mut loose {
        for version in &mut definition.spec.versions {
            let anything = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            version.schema = Some(serde_json::from_value(anything).unwrap());
        }
        install_one(&client, definition).await;
    }
    let site = Site::within(&cluster, "lifecycle-broken").await;
    let broken = json!({
        "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline", "metadata": {"name": "broken"},
        "spec": {"redis": "a text", "ingestor": 5},
    });
    let resource = kube::api::ApiResource::erase::<MuttPipeline>(&());
    let stored: Api<DynamicObject> = Api::namespaced_with(site.client.clone(), &site.namespace, &resource);
    // The API server may still go by the definition before it; a loose one takes it.
    eventually("the loose definition is in use", async || {
        stored.create(&PostParams::default(), &serde_json::from_value(broken.clone()).unwrap()).await.ok()
    })
    .await;
    install(&client).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    site.pipeline("core", &spec("broken")).await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    let events: Api<k8s_openapi::api::events::v1::Event> = site.api();
    let note = eventually("an Event tells", async || {
        let all = events.list(&kube::api::ListParams::default()).await.unwrap();
        all.into_iter().find(|event| event.reason.as_deref() == Some("Unreadable")).and_then(|event| event.note)
    })
    .await;
    assert!(note.contains("cannot be read"), "{note}");
    // Corrected, it is a pipeline like any other.
    site.secret("unused", "KEY").await;
    stored.delete("broken", &DeleteParams::default()).await.unwrap();
    site.pipeline("broken", &spec("mended")).await;
    site.exists(ChildKind::Deployment, "broken-ingestor").await;
    assert!(!site.get::<MuttPipeline>("broken").await.unwrap().name_any().is_empty());
    operator.stop().await;
}

#[tokio::test]
async fn every_condition_speaks_of_the_generation_that_was_looked_at() {
    let site = Site::new("lifecycle-generation").await;
    site.pipeline("core", &spec("generation")).await;
    let operator = Operator::start(shared().await.kubeconfig(), &[&site.namespace]).await;
    site.everything_runs(&operator, "core").await;
    let before = site.get::<MuttPipeline>("core").await.unwrap().status.unwrap();
    let mut more = spec("generation");
    more["ingestor"]["replicas"] = json!(3);
    let generation = site.pipeline("core", &more).await.metadata.generation;
    site.condition("core", "Progressing", "True", "RollingOut").await;
    let after = site.get::<MuttPipeline>("core").await.unwrap().status.unwrap();
    assert_eq!(after.observed_generation, generation);
    assert!(after.conditions.iter().all(|condition| condition.observed_generation == generation));
    // What has not changed keeps its time.
    let since = |status: &mutt_crds::MuttPipelineStatus, type_: &str| {
        status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().last_transition_time.clone()
    };
    assert_eq!(since(&before, "RulesActive"), since(&after, "RulesActive"));
    operator.stop().await;
}
