//! What scales a role, case by case.

use mutt_crds::pipeline::AutoscalingMode as Mode;

use super::*;
use crate::external_metrics::Standing;

/// What the cluster has.
#[derive(Clone, Copy)]
struct Cluster {
    keda: bool,
    service: bool,
    external: &'static str,
}

const BOTH: Cluster = Cluster { keda: true, service: true, external: "free" };
const NO_KEDA: Cluster = Cluster { keda: false, ..BOTH };
const TAKEN: Cluster = Cluster { keda: false, service: true, external: "taken" };

fn fetched(pipeline: &MuttPipeline, cluster: Cluster) -> Fetched {
    let external_metrics = match cluster.external {
        "free" => Standing::Free,
        "taken" => Standing::Taken("prometheus-adapter".to_owned()),
        "off" => Standing::Off("--external-metrics is off".to_owned()),
        _ => Standing::Unknown,
    };
    Fetched {
        served: Served { keda: cluster.keda, ..Served::default() },
        operator_url: cluster.service.then(|| "http://operator.mutt.svc:8080".to_owned()),
        external_metrics,
        scale_to_zero: Some(false),
        ..everything(pipeline)
    }
}

fn role(lines: &str, cluster: Cluster) -> (Role, Vec<Warning>) {
    let pipeline = pipeline(lines);
    let resolved = resolve(&pipeline, &fetched(&pipeline, cluster)).unwrap_or_else(|error| panic!("{lines}: {error}"));
    let role = resolved.roles().find(|role| role.autoscaling.is_some()).expect("an autoscaled role").clone();
    (role, resolved.warnings)
}

const UNLIMITED: &str = "moogsoft: {url: 'https://m', credentialsSecret: s, rateLimit: {alerts: 0}}";

#[test]
fn auto_takes_the_best_that_there_is() {
    let (alerter, forwarder) =
        ("alerter: {autoscaling: {maxReplicas: 9}}", "forwarder: {autoscaling: {maxReplicas: 9}}");
    let ingestor = "ingestor: {apiKeySecret: mutt-ingest, autoscaling: {maxReplicas: 9}}";
    let unlimited = format!("{{{forwarder}, {UNLIMITED}}}");
    let unasked = Cluster { service: false, ..BOTH };
    for (lines, cluster, mode, why) in [
        (alerter, BOTH, Mode::Keda, "KEDA is installed"),
        (alerter, NO_KEDA, Mode::External, "KEDA is not installed"),
        (alerter, unasked, Mode::External, "--service"),
        (
            alerter,
            TAKEN,
            Mode::Resource,
            "KEDA is not installed, and external.metrics.k8s.io belongs to prometheus-adapter",
        ),
        (alerter, Cluster { external: "off", ..NO_KEDA }, Mode::Resource, "--external-metrics is off"),
        (alerter, Cluster { external: "unknown", ..NO_KEDA }, Mode::Auto, "not known yet"),
        (alerter, Cluster { external: "unknown", ..BOTH }, Mode::Keda, "KEDA is installed"),
        (&unlimited, BOTH, Mode::Keda, "KEDA is installed"),
        (&unlimited, NO_KEDA, Mode::External, "KEDA is not installed"),
        (forwarder, BOTH, Mode::None, "the rate limit, 50 alerts per 1 s"),
        (ingestor, BOTH, Mode::Resource, "no queue"),
        ("webUi: {apiKeySecret: mutt-webui, autoscaling: {maxReplicas: 9}}", NO_KEDA, Mode::Resource, "no queue"),
    ] {
        let choice = role(lines, cluster).0.autoscaling.unwrap();
        assert_eq!(choice.mode, mode, "{lines}: {choice:?}");
        assert!(choice.why.contains(why) && choice.obstacle.is_none(), "{lines}: {choice:?}");
    }
}

#[test]
fn what_is_set_counts_and_what_cannot_be_is_said() {
    let alerter = |mode: &str| format!("alerter: {{autoscaling: {{mode: {mode}, maxReplicas: 9}}}}");
    for (mode, cluster, obstacle) in [
        ("Keda", BOTH, None),
        ("Keda", NO_KEDA, Some(Reason::KedaNotServed)),
        ("Keda", Cluster { service: false, ..BOTH }, Some(Reason::KedaCannotAsk)),
        ("External", BOTH, None),
        ("External", TAKEN, Some(Reason::ExternalMetricsNotServed)),
        ("External", Cluster { external: "off", ..BOTH }, Some(Reason::ExternalMetricsNotServed)),
        ("Resource", BOTH, None),
        ("None", BOTH, None),
    ] {
        let (role, _) = role(&alerter(mode), cluster);
        let choice = role.autoscaling.unwrap();
        assert_eq!(format!("{:?}", choice.mode), mode);
        assert_eq!(choice.obstacle.as_ref().map(|obstacle| obstacle.reason), obstacle, "{mode}: {choice:?}");
        let to = match (mode, obstacle) {
            (_, Some(_)) => LeftTo::Nobody,
            ("None", _) => LeftTo::Others,
            _ => {
                assert!(matches!(role.scale, Scale::Scaled(_)), "{mode}");
                continue;
            }
        };
        assert_eq!(role.scale, Scale::Left(Left { least: 2, most: 9, to }), "{mode}");
    }
    let undecided = role(&alerter("External"), Cluster { external: "unknown", ..BOTH }).0;
    assert_eq!(undecided.scale, Scale::Left(Left { least: 2, most: 9, to: LeftTo::WhatIsThere }));
}

#[test]
fn a_rate_limit_leaves_the_fewest_forwarders() {
    let (role, warnings) = role("forwarder: {autoscaling: {minReplicas: 1, maxReplicas: 9}}", BOTH);
    assert_eq!((role.scale, warnings), (Scale::Fixed(1), vec![]));
}

#[test]
fn targets_and_behaviour_have_defaults() {
    let scaled = |lines: &str| match role(lines, NO_KEDA).0.scale {
        Scale::Scaled(scaled) => scaled,
        other => panic!("{lines}: {other:?}"),
    };
    let target = |queue, depth, age_seconds| Some(QueueTarget { queue, depth, age_seconds });
    let alerter = scaled("alerter: {autoscaling: {maxReplicas: 9}}");
    assert_eq!((alerter.least, alerter.most, alerter.cpu_percent), (2, 9, None));
    assert_eq!(alerter.queue, target("ingest", 20_000, None));
    let down = alerter.behavior.scale_down.clone().unwrap();
    assert_eq!(down.stabilization_window_seconds, Some(300));
    assert_eq!(
        scaled(&format!("{{forwarder: {{autoscaling: {{maxReplicas: 9}}}}, {UNLIMITED}}}")).queue,
        target("alert", 1_000, None)
    );
    let set = scaled(
        "alerter: {autoscaling: {maxReplicas: 9, targetQueueDepth: 7, targetQueueAgeSeconds: 30, targetCpuPercent: 80, behavior: {scaleUp: {stabilizationWindowSeconds: 60}}}}",
    );
    assert_eq!((set.queue, set.cpu_percent), (target("ingest", 7, Some(30)), Some(80)));
    assert_eq!(set.behavior.scale_up.unwrap().stabilization_window_seconds, Some(60));
    assert_eq!(set.behavior.scale_down, Some(down), "what is not set is as before");
    let cpu = scaled("alerter: {autoscaling: {mode: Resource, maxReplicas: 9}}");
    assert_eq!((cpu.queue, cpu.cpu_percent), (None, Some(70)));
}

#[test]
fn zero_pods_only_where_something_brings_them_back() {
    let lines = |role: &str, mode: &str| {
        format!("{role}: {{apiKeySecret: s, autoscaling: {{mode: {mode}, minReplicas: 0, maxReplicas: 9}}}}")
    };
    for (role_name, mode, least) in [
        ("alerter", "Keda", 0),
        ("alerter", "External", 1),
        ("alerter", "Resource", 1),
        ("alerter", "None", 0),
        ("forwarder", "Auto", 1),
        ("ingestor", "Keda", 1),
    ] {
        let (role, warnings) = role(&lines(role_name, mode), BOTH);
        assert_eq!(role.scale.least(), least, "{role_name} {mode}");
        let expected = if least == 0 { vec![] } else { vec![Reason::ScaleToZeroNotServed] };
        assert_eq!(warnings.iter().map(|warning| warning.reason).collect::<Vec<_>>(), expected, "{role_name} {mode}");
    }
    let pipeline = pipeline(&lines("alerter", "External"));
    let fetched = Fetched { scale_to_zero: Some(true), ..fetched(&pipeline, BOTH) };
    let resolved = resolve(&pipeline, &fetched).unwrap();
    assert_eq!((resolved.alerter.role.scale.least(), resolved.warnings), (0, vec![]));
    assert!(may_scale_to_zero(&pipeline.spec));
    let unasked = Fetched { scale_to_zero: None, ..fetched };
    let resolved = resolve(&pipeline, &unasked).unwrap();
    assert_eq!(resolved.alerter.role.scale.least(), 1);
    assert!(resolved.warnings[0].message.contains("could not be asked"), "{:?}", resolved.warnings);
}

#[test]
fn cpu_is_requested_only_where_cpu_scales() {
    let without = |autoscaling: &str| {
        format!("alerter: {{autoscaling: {{maxReplicas: 9, {autoscaling}}}, resources: {{requests: {{memory: 1Gi}}}}}}")
    };
    assert!(matches!(role(&without("mode: External"), BOTH).0.scale, Scale::Scaled(_)));
    for wanted in ["mode: Resource", "targetCpuPercent: 50", "mode: Keda, targetCpuPercent: 50"] {
        let pipeline = pipeline(&without(wanted));
        let found = problems(&pipeline, &fetched(&pipeline, BOTH));
        assert_eq!(
            found.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
            [Reason::MissingCpuRequest],
            "{wanted}"
        );
    }
    // Where the cluster's own change has led there, the rest of the pipeline goes on.
    let choice = role(&without("mode: Auto"), TAKEN).0.autoscaling.unwrap();
    assert_eq!((choice.mode, choice.obstacle.unwrap().reason), (Mode::Resource, Reason::MissingCpuRequest));
}

#[test]
fn targets_without_effect_are_said() {
    for lines in [
        "alerter: {autoscaling: {mode: Resource, maxReplicas: 9, targetQueueDepth: 7}}",
        "alerter: {autoscaling: {mode: None, maxReplicas: 9, targetQueueAgeSeconds: 7}}",
        "alerter: {autoscaling: {mode: None, maxReplicas: 9, targetCpuPercent: 7}}",
    ] {
        let (_, warnings) = role(lines, BOTH);
        assert_eq!(
            warnings.iter().map(|warning| warning.reason).collect::<Vec<_>>(),
            [Reason::WithoutEffect],
            "{lines}"
        );
    }
}
