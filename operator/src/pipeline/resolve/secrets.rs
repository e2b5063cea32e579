//! Secrets are there and have the keys that the workers read.

use std::collections::BTreeSet;

use kube::ResourceExt;
use mutt_crds::{MuttPipeline, pipeline::SecretKey};
use mutt_secrets::SecretName;

use super::{Fetched, Reason, problem::Problems};

/// Whether the Secret holds this value, under whichever of its names.
pub(super) fn holds(fetched: &Fetched, secret: &str, value: SecretName) -> bool {
    fetched.secrets.get(secret).is_some_and(|keys| value.keys().iter().any(|key| keys.contains(*key)))
}

/// A key that a Secret must have.
struct Wanted<'a> {
    field: &'static str,
    secret: &'a str,
    /// Any of them will do; the one to recommend comes first.
    keys: Vec<&'a str>,
}

/// Says what is missing; a Secret that is not there once, however many keys are wanted of it.
pub(super) fn check(pipeline: &MuttPipeline, fetched: &Fetched, problems: &mut Problems) {
    let namespace = pipeline.namespace().unwrap_or_default();
    let mut missing = BTreeSet::new();
    for Wanted { field, secret, keys } in wanted(pipeline) {
        let Some(present) = fetched.secrets.get(secret) else {
            if missing.insert(secret) {
                let keys = keys.join("` or `");
                problems.add(
                    Reason::MissingSecret,
                    format!(
                        "Secret `{secret}` ({field}) is not in namespace {namespace}: create it with the key `{keys}`"
                    ),
                );
            }
            continue;
        };
        if !keys.iter().any(|key| present.contains(*key)) {
            let keys = keys.join("` or `");
            problems.add(
                Reason::MissingSecretKey,
                format!(
                    "Secret `{secret}` ({field}) in namespace {namespace} lacks the key `{keys}`, or its value is empty"
                ),
            );
        }
    }
}

fn wanted(pipeline: &MuttPipeline) -> Vec<Wanted<'_>> {
    let spec = &pipeline.spec;
    let redis_ca = spec.redis.tls.as_ref().map(|tls| &tls.ca_secret);
    let tls = spec.tls.as_ref().map(|tls| tls.secret.as_str());
    let wanted = [
        login("spec.redis.credentialsSecret", spec.redis.credentials_secret.as_ref(), SecretName::RedisPass),
        authority("spec.redis.tls.caSecret", redis_ca),
        login("spec.postgres.credentialsSecret", Some(&spec.postgres.credentials_secret), SecretName::DbPass),
        authority("spec.postgres.tls.caSecret", spec.postgres.tls.ca_secret.as_ref()),
        login("spec.moogsoft.credentialsSecret", Some(&spec.moogsoft.credentials_secret), SecretName::MoogApiKey),
        authority("spec.moogsoft.caSecret", spec.moogsoft.ca_secret.as_ref()),
        login("spec.ingestor.apiKeySecret", Some(&spec.ingestor.api_key_secret), SecretName::IngestApiKey),
        login("spec.webUi.apiKeySecret", spec.web_ui.as_ref().map(|ui| &ui.api_key_secret), SecretName::WebUiApiKey),
        tls.map(|secret| Wanted { field: "spec.tls.secret", secret, keys: vec!["tls.crt"] }),
        tls.map(|secret| Wanted { field: "spec.tls.secret", secret, keys: vec!["tls.key"] }),
    ];
    wanted.into_iter().flatten().collect()
}

fn login<'a>(field: &'static str, secret: Option<&'a String>, value: SecretName) -> Option<Wanted<'a>> {
    // The plain name before `…_CURRENT`, since it is the one to write where there is none yet.
    secret.map(|secret| Wanted { field, secret, keys: value.keys().iter().rev().copied().collect() })
}

fn authority<'a>(field: &'static str, secret: Option<&'a SecretKey>) -> Option<Wanted<'a>> {
    secret.map(|SecretKey { name, key }| Wanted { field, secret: name, keys: vec![key] })
}
