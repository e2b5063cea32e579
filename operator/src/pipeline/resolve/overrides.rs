//! What the owner adds to pods does not collide with what the operator needs in them.

use std::collections::BTreeSet;

use mutt_crds::pipeline::PodOverrides;

use super::{Reason, problem::Problems};

/// Volumes whose names begin so are the operator's.
const OWN_VOLUMES: &str = "mutt-";
/// Its files are mounted below.
const OWN_FILES: &str = "/etc/mutt/";

/// Settings that Services, probes, the schema's Job or the operator itself rely on, and where they are set instead.
const FIXED_SETTINGS: &[(&str, &str)] = &[
    ("POD_NAME", "it has to be the pod's own name, by which rules are acknowledged"),
    ("REDIS_URL", "set spec.redis.url"),
    ("REDIS_HOST", "set spec.redis.url"),
    ("REDIS_PORT", "set spec.redis.url"),
    ("REDIS_TLS_ENABLED", "spec.redis.url begins with rediss:// for TLS"),
    ("REDIS_USERNAME", "set spec.redis.username"),
    ("REDIS_KEY_PREFIX", "set spec.redis.keyPrefix"),
    ("INGEST_QUEUE_NAME", "it follows spec.redis.keyPrefix"),
    ("ALERT_QUEUE_NAME", "it follows spec.redis.keyPrefix"),
    ("ALERTER_HEARTBEAT_PREFIX", "it follows spec.redis.keyPrefix"),
    ("ALERTER_DLQ_NAME", "it follows spec.redis.keyPrefix"),
    ("MOOG_DLQ_NAME", "it follows spec.redis.keyPrefix"),
    ("DATABASE_URL", "set spec.postgres"),
    ("DB_HOST", "set spec.postgres.host"),
    ("DB_PORT", "set spec.postgres.port"),
    ("DB_NAME", "set spec.postgres.database"),
    ("DB_USER", "set spec.postgres.user"),
    ("DB_TLS_ENABLED", "set spec.postgres.tls.enabled"),
    ("RULES_SOURCE", "rules come from AlertRules"),
    ("RULES_DIR", "rules come from AlertRules"),
    ("SERVER_PORT_INGESTOR", "Services and probes use 8080"),
    ("SERVER_PORT_WEBUI", "Services and probes use 8090"),
    ("METRICS_PORT_ALERTER", "Services and probes use 8081"),
    ("HEALTH_PORT_ALERTER", "probes use 8082"),
    ("METRICS_PORT_MOOG", "Services and probes use 8083"),
    ("HEALTH_PORT_MOOG", "probes use 8084"),
    ("SERVER_TLS_CERT_PATH", "set spec.tls"),
    ("SERVER_TLS_KEY_PATH", "set spec.tls"),
    ("SERVER_TLS_CLIENT_CA_PATH", "probes come from the kubelet, which has no certificate"),
];

/// Says what collides.
pub(super) fn check(role: &str, pod: &PodOverrides, problems: &mut Problems) {
    let mut add = |field: &str, words: String| {
        problems.add(Reason::InvalidPodOverrides, format!("spec.{role}.pod.{field}: {words}"));
    };
    for variable in &pod.env {
        if let Some((name, instead)) = FIXED_SETTINGS.iter().find(|(name, _)| *name == variable.name) {
            add("env", format!("{name} cannot be set here: {instead}"));
        }
    }
    for name in twice(pod.env.iter().map(|variable| variable.name.as_str())) {
        add("env", format!("{name} stands there twice"));
    }
    let volumes: BTreeSet<&str> = pod.extra_volumes.iter().map(|volume| volume.name.as_str()).collect();
    for name in volumes.iter().filter(|name| name.starts_with(OWN_VOLUMES)) {
        add(
            "extraVolumes",
            format!("`{name}`: names that begin with {OWN_VOLUMES} are the operator's; choose another"),
        );
    }
    for name in twice(pod.extra_volumes.iter().map(|volume| volume.name.as_str())) {
        add("extraVolumes", format!("`{name}` stands there twice"));
    }
    for mount in &pod.extra_volume_mounts {
        if !volumes.contains(mount.name.as_str()) {
            add("extraVolumeMounts", format!("`{}` is not among extraVolumes", mount.name));
        }
        if format!("{}/", mount.mount_path.trim_end_matches('/')).starts_with(OWN_FILES) {
            add(
                "extraVolumeMounts",
                format!("{}: {OWN_FILES} is the operator's; choose another path", mount.mount_path),
            );
        }
    }
    for path in twice(pod.extra_volume_mounts.iter().map(|mount| mount.mount_path.as_str())) {
        add("extraVolumeMounts", format!("two mounts at {path}"));
    }
}

/// What comes more than once.
fn twice<'a>(items: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}
