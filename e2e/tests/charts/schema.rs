//! A typing mistake in the values is refused before anything is applied, and the message names it.

use crate::helm::Helm;

/// Chart, what is set, and words that the refusal must hold.
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("mutt-operator", "replica=2", &["replica"]),
    ("mutt-operator", "replicas=0", &["replicas"]),
    ("mutt-operator", "replicas=two", &["replicas", "integer"]),
    ("mutt-operator", "image.pullPolicy=Sometimes", &["pullPolicy", "Always"]),
    ("mutt-operator", "image.repo=x", &["image", "repo"]),
    ("mutt-operator", "image.repository=registry:5000/x:1", &["repository"]),
    ("mutt-operator", "image.digest=abc", &["digest"]),
    ("mutt-operator", "workerImage.pullPolicy=Always", &["workerImage", "pullPolicy"]),
    ("mutt-operator", "watchNamespaces={a_b}", &["watchNamespaces"]),
    ("mutt-operator", "watchNamespaces={a,a}", &["watchNamespaces"]),
    ("mutt-operator", "metrics.serviceMonitor.enable=true", &["serviceMonitor", "enable"]),
    ("mutt-operator", "metrics.serviceMonitor.interval=30", &["interval"]),
    ("mutt-operator", "metrics.prometheusRule.runbookBaseUrl=git.example.net", &["runbookBaseUrl"]),
    ("mutt-operator", "log.format=xml", &["format"]),
    ("mutt-operator", "livenessProbe.httpGet.path=/x", &["livenessProbe", "httpGet"]),
    ("mutt-operator", "leaderElection.enabled=false", &["leaderElection.enabled=false allows replicas=1 only"]),
    ("mutt-operator", "externalMetrics.enabled=auto", &["externalMetrics", "enabled", "boolean"]),
    ("mutt-operator", "externalMetrics.port=443", &["port", "443"]),
    ("mutt-operator", "externalMetrics.certificate.source=self-signed", &["source", "cert-manager"]),
    (
        "mutt-operator",
        "externalMetrics.enabled=true,rbac.create=false",
        &["externalMetrics.enabled=true with rbac.create=false needs externalMetrics.clusterRole"],
    ),
    (
        "mutt-operator",
        "metrics.serviceMonitor.enabled=true,metrics.service.enabled=false",
        &["metrics.serviceMonitor.enabled needs metrics.service.enabled"],
    ),
    ("mutt-crds", "crds.keeep=true", &["keeep"]),
    ("mutt-crds", "crds.keep=yes", &["keep", "boolean"]),
    ("mutt-pipeline", "pipline.name=x", &["pipline"]),
    ("mutt-pipeline", "pipeline.spec=null", &["spec"]),
    ("mutt-pipeline", "pipeline.spec.redis=null", &["redis"]),
    ("mutt-pipeline", "pipeline.name=Core", &["name"]),
    ("mutt-pipeline", "rules.Bad_Name.match.trapOid=1.3", &["Bad_Name"]),
    ("mutt-pipeline", "rules.a.team=NETO", &["match"]),
];

#[test]
fn mistakes_in_values_are_refused_by_name() {
    for helm in Helm::both() {
        for (chart, set, words) in REFUSED {
            let output = helm.template("release", chart, "default", &["--set", set]);
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{} accepts {chart} --set {set}", helm.name);
            for word in *words {
                assert!(message.contains(word), "{} {chart} --set {set}: no {word:?} in: {message}", helm.name);
            }
        }
    }
}

#[test]
fn a_release_name_too_long_for_a_pipeline_is_refused() {
    let name = "a".repeat(41);
    for helm in Helm::both() {
        let output = helm.template(&name, "mutt-pipeline", "default", &[]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("40 are the most: set pipeline.name"), "{}: {message}", helm.name);
    }
}

#[test]
fn values_that_a_parent_chart_brings_are_accepted() {
    for helm in Helm::both() {
        for (chart, ..) in crate::cases::CHARTS {
            let output = helm.template("release", chart, "default", &["--set", "global.other.chart=1,enabled=true"]);
            crate::helm::rendered(output, chart);
        }
    }
}
