//! One field at a time.

use serde_json::{Value, json};

use super::{build, case, container, object, objects, resolved};

/// The contract's pipeline with `lines` in its spec.
fn minimal(lines: &str) -> Value {
    let mut pipeline = case("minimal");
    let added: Value = serde_saphyr::from_str(lines).expect("YAML");
    for (key, value) in added.as_object().into_iter().flatten() {
        pipeline["spec"][key] = value.clone();
    }
    pipeline
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name)
}

#[test]
fn every_child_has_owner_and_labels_and_a_name_that_begins_with_the_pipelines() {
    for name in ["minimal", "full", "openshift", "autoscaled", "keda"] {
        let pipeline = case(name);
        for object in objects(&build(&resolved(&pipeline, true))) {
            let meta = &object["metadata"];
            let what = format!("{name}: {} {}", object["kind"], meta["name"]);
            let owner = &meta["ownerReferences"][0];
            assert_eq!(owner["uid"], pipeline["metadata"]["uid"], "{what}");
            assert_eq!((&owner["controller"], &owner["blockOwnerDeletion"]), (&json!(true), &json!(true)), "{what}");
            assert_eq!(meta["namespace"], "netops", "{what}");
            assert_eq!(meta["labels"]["mutt.dev/pipeline"], pipeline["metadata"]["name"], "{what}");
            assert_eq!(meta["labels"]["app.kubernetes.io/managed-by"], "mutt-operator", "{what}");
            assert!(
                meta["name"].as_str().unwrap().starts_with(pipeline["metadata"]["name"].as_str().unwrap()),
                "{what}"
            );
            assert!(meta["name"].as_str().unwrap().len() <= 63, "{what}");
        }
    }
}

#[test]
fn pods_are_restricted_and_have_no_user_of_their_own() {
    let children = objects(&build(&resolved(&case("full"), true)));
    let pods: Vec<&Value> = children
        .iter()
        .filter_map(|object| match object["kind"].as_str()? {
            "Deployment" | "Job" => Some(&object["spec"]["template"]),
            "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
            _ => None,
        })
        .collect();
    assert_eq!(pods.len(), 6);
    for pod in pods {
        let spec = &pod["spec"];
        let container = &spec["containers"][0];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["enableServiceLinks"], false);
        assert_eq!(
            spec["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        assert_eq!(pod["metadata"]["annotations"]["openshift.io/required-scc"], "restricted-v2");
        assert!(container["resources"]["limits"].get("cpu").is_none());
    }
}

#[test]
fn what_the_owner_adds_is_there_and_the_operators_labels_win() {
    let deployment = object(&case("full"), "Deployment", "full-alerter");
    let pod = &deployment["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "mutt");
    assert_eq!(pod["metadata"]["labels"]["cost-center"], "42");
    let container = &pod["spec"]["containers"][0];
    let formats: Vec<&Value> =
        container["env"].as_array().unwrap().iter().filter(|variable| variable["name"] == "LOG_FORMAT").collect();
    assert_eq!(formats, [&json!({"name": "LOG_FORMAT", "value": "text"})]);
    assert_eq!(
        pod["spec"]["topologySpreadConstraints"][0]["labelSelector"], deployment["spec"]["selector"],
        "a constraint without a selector would count no pod"
    );
}

#[test]
fn a_pod_has_time_to_drain() {
    let grace = |pipeline: &Value, role: &str| {
        let name = format!("{}-{role}", pipeline["metadata"]["name"].as_str().unwrap());
        object(pipeline, "Deployment", &name)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(grace(&case("minimal"), "ingestor"), 35);
    assert_eq!(grace(&case("minimal"), "alerter"), 30);
    assert_eq!(grace(&case("full"), "ingestor"), 50, "SHUTDOWN_TIMEOUT is 40 there");
    let ingestor = container(&case("minimal"), "ingestor");
    assert_eq!(ingestor["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert!(container(&case("minimal"), "forwarder").get("lifecycle").is_none());
}

#[test]
fn probes_follow_the_ports_and_tls() {
    for (case_name, role, scheme, port) in [
        ("minimal", "ingestor", "HTTP", 8080),
        ("minimal", "alerter", "HTTP", 8082),
        ("tls", "forwarder", "HTTPS", 8084),
        ("tls", "webui", "HTTPS", 8090),
    ] {
        let container = container(&case(case_name), role);
        let ports = container["ports"].as_array().unwrap();
        for (probe, path) in [("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
            let get = &container[probe]["httpGet"];
            assert_eq!((get["scheme"].as_str(), get["path"].as_str()), (Some(scheme), Some(path)), "{role} {probe}");
            let named = ports.iter().find(|port| port["name"] == get["port"]).unwrap();
            assert_eq!(named["containerPort"], port, "{role} {probe}");
        }
    }
}

#[test]
fn passwords_are_files_and_both_of_a_rotation_are_named() {
    let pipeline = case("minimal");
    let ingestor = container(&pipeline, "ingestor");
    for name in ["INGEST_API_KEY", "INGEST_API_KEY_NEXT"] {
        let file = variable(&ingestor, &format!("{name}_FILE")).unwrap();
        assert_eq!(file["value"], format!("/etc/mutt/secrets/ingestor/{name}"));
    }
    assert!(variable(&ingestor, "MOOG_API_KEY_FILE").is_none(), "only what the role reads");
    let deployment = object(&pipeline, "Deployment", "core-ingestor");
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "mutt-ingestor").unwrap();
    assert_eq!(volume["secret"]["optional"], true, "a NEXT key that is not there does not keep the pod from starting");
}

#[test]
fn the_user_is_the_settings_unless_the_secret_names_one() {
    let pipeline = minimal("postgres: {host: db, user: writer, credentialsSecret: mutt-postgres}");
    let mut resolved = resolved(&pipeline, true);
    let user = |resolved: &crate::pipeline::resolve::Resolved| {
        let objects = objects(&build(resolved));
        let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
        variable(&job["spec"]["template"]["spec"]["containers"][0], "DB_USER").cloned()
    };
    assert_eq!(user(&resolved).unwrap()["value"], "writer");
    resolved.database_user_in_secret = true;
    assert_eq!(user(&resolved), None);
}

#[test]
fn few_connections_mean_few_lanes() {
    for (connections, lanes) in [(2, Some("1")), (3, Some("2")), (4, None), (50, None)] {
        let pipeline = minimal(&format!("postgres: {{host: db, credentialsSecret: s, maxConnections: {connections}}}"));
        let alerter = container(&pipeline, "alerter");
        let set = variable(&alerter, "ALERTER_LANES").map(|variable| variable["value"].as_str().unwrap());
        assert_eq!(set, lanes, "{connections} connections");
    }
}

#[test]
fn an_autoscaled_role_leaves_its_number_alone() {
    for (name, deployment) in
        [("autoscaled", "elastic-alerter"), ("keda", "event-driven-alerter"), ("keda", "event-driven-webui")]
    {
        assert!(object(&case(name), "Deployment", deployment)["spec"].get("replicas").is_none(), "{deployment}");
    }
    assert_eq!(object(&case("minimal"), "Deployment", "core-alerter")["spec"]["replicas"], 2);
    let left = build(&resolved(&case("keda"), true)).left;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["event-driven-webui"], "the others have an autoscaler");
}

#[test]
fn no_deployment_has_two_autoscalers() {
    for name in ["autoscaled", "keda"] {
        let children = objects(&build(&resolved(&case(name), true)));
        let mut targets: Vec<_> = children
            .iter()
            .filter(|object| ["HorizontalPodAutoscaler", "ScaledObject"].contains(&object["kind"].as_str().unwrap()))
            .map(|scaler| scaler["spec"]["scaleTargetRef"]["name"].as_str().unwrap())
            .collect();
        let all = targets.len();
        targets.dedup();
        assert!(all >= 3 && targets.len() == all, "{name}: {targets:?}");
    }
}

#[test]
fn keda_is_told_of_zero_only_where_zero_is_wanted() {
    let scaler = |role: &str| object(&case("keda"), "ScaledObject", &format!("event-driven-{role}"))["spec"].clone();
    let alerter = scaler("alerter");
    assert_eq!((&alerter["pollingInterval"], &alerter["cooldownPeriod"]), (&json!(10), &json!(300)));
    let forwarder = scaler("forwarder");
    assert!(forwarder.get("pollingInterval").is_none() && forwarder.get("cooldownPeriod").is_none());
    let url = "http://mutt-operator-metrics.mutt-system.svc:8080/scaling/netops/event-driven";
    assert_eq!(
        forwarder["triggers"],
        json!([{
            "type": "metrics-api", "metricType": "AverageValue",
            "metadata": {"url": url, "valueLocation": "alert.depth", "targetValue": "1000"},
        }])
    );
    let types = |spec: &Value| {
        let triggers = spec["triggers"].as_array().unwrap().iter();
        triggers.map(|trigger| trigger["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(types(&alerter), ["metrics-api", "metrics-api", "cpu"]);
    assert_eq!(types(&scaler("ingestor")), ["cpu"]);
}

#[test]
fn one_pod_has_no_budget() {
    let children = build(&resolved(&case("no-webui"), true));
    assert!(children.pod_disruption_budgets.is_empty());
    assert_eq!(build(&resolved(&case("minimal"), true)).pod_disruption_budgets.len(), 4);
}

#[test]
fn alerter_and_web_ui_wait_for_the_schema_of_their_own_settings() {
    let pending = build(&resolved(&case("minimal"), false));
    assert_eq!(pending.held_back, ["core-alerter", "core-webui"]);
    let names: Vec<_> = pending.deployments.iter().filter_map(|deployment| deployment.metadata.name.clone()).collect();
    assert_eq!(names, ["core-ingestor", "core-forwarder"]);
    let migrated = build(&resolved(&case("minimal"), true));
    assert!(migrated.held_back.is_empty());
    assert_eq!(pending.jobs, migrated.jobs, "the Job stays: a second one would run");
    for (lines, again) in [
        ("image: other", true),
        ("postgres: {host: other, credentialsSecret: mutt-postgres}", true),
        ("logLevel: DEBUG", false),
        ("alerter: {replicas: 7}", false),
    ] {
        let mut changed = resolved(&minimal(lines), false);
        changed.completed_jobs = resolved(&case("minimal"), true).completed_jobs;
        let children = build(&changed);
        assert_eq!(children.jobs[0].metadata.name != migrated.jobs[0].metadata.name, again, "{lines}");
        assert_eq!(!children.held_back.is_empty(), again, "{lines}");
    }
}

#[test]
fn services_are_named_after_the_roles() {
    let service = |role: &str| object(&case("minimal"), "Service", &format!("core-{role}"))["spec"].clone();
    assert_eq!(service("ingestor")["ports"][0]["port"], 8080);
    assert_eq!(service("webui")["ports"][0]["port"], 8090);
    assert!(service("ingestor").get("clusterIP").is_none());
    assert_eq!(service("alerter")["clusterIP"], "None");
    assert_eq!(service("forwarder")["ports"][0]["port"], 8083);
}

#[test]
fn an_ingress_leads_only_where_something_is() {
    let lines = "{webUi: null, ingress: {webUiHost: mutt.example.com}}";
    assert!(build(&resolved(&minimal(lines), true)).ingresses.is_empty());
    let lines = "{webUi: null, ingress: {ingestHost: a.example.com, webUiHost: mutt.example.com}}";
    let ingress = object(&minimal(lines), "Ingress", "core");
    assert_eq!(ingress["spec"]["rules"].as_array().unwrap().len(), 1);
}

#[test]
fn a_database_pod_takes_no_connection() {
    let policy = object(&minimal("networkPolicy: {}"), "NetworkPolicy", "core-database");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert!(policy["spec"].get("ingress").is_none());
    let open = object(&minimal("networkPolicy: {}"), "NetworkPolicy", "core-ingestor");
    assert!(open["spec"]["ingress"][0].get("from").is_none(), "everyone");
}

#[test]
fn alerts_lead_to_the_runbooks_where_the_operator_is_told_that_they_are() {
    let mut pipeline = resolved(&case("full"), true);
    let mut links = |base: Option<&str>| -> Vec<String> {
        pipeline.runbook_base_url = base.map(str::to_owned);
        let rules = build(&pipeline).prometheus_rules;
        let rules = rules.iter().map(|rule| serde_json::to_value(rule).unwrap()).collect::<Vec<_>>();
        let groups = rules[0]["spec"]["groups"].as_array().unwrap().iter();
        let links = groups.flat_map(|group| group["rules"].as_array().unwrap());
        links.filter_map(|rule| rule["annotations"]["runbook_url"].as_str()).map(str::to_owned).collect()
    };
    let (without, with) = (links(None), links(Some("https://git.example.net/mutt")));
    assert!(without.len() > 20 && without[0] == "manifests/prometheus/runbooks.md#mutterrorbudgetburn", "{without:?}");
    assert!(without.iter().zip(&with).all(|(file, link)| *link == format!("https://git.example.net/mutt/{file}")));
}

#[test]
fn a_role_that_there_is_none_of_or_that_may_be_scaled_to_zero_is_not_missed_by_prometheus() {
    let missed = |mut pipeline: Value| -> Vec<String> {
        pipeline["spec"]["monitoring"] = json!({"prometheusRule": {}});
        let name = pipeline["metadata"]["name"].as_str().unwrap().to_owned();
        let rule = object(&pipeline, "PrometheusRule", &name);
        let groups = rule["spec"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let absent = rules.filter(|rule| rule["alert"] == "MuttRoleAbsent");
        absent.map(|rule| rule["labels"]["role"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(missed(case("minimal")), ["ingestor", "alerter", "forwarder", "webui"]);
    assert_eq!(missed(case("keda")), ["ingestor", "forwarder", "webui"]);
    assert_eq!(missed(minimal("{webUi: null, forwarder: {replicas: 0}}")), ["ingestor", "alerter"]);
}
