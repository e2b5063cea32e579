//! The CronJob that makes partitions of the audit trail ahead and drops old ones.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec};
use sha2::{Digest, Sha256};

use super::{job::database_pod, labels::metadata, settings};
use crate::pipeline::resolve::{Component, Resolved};

/// A night whose start the controller manager missed is made up for within six hours.
const LATEST_START_SECONDS: i64 = 6 * 3_600;
/// Tries of one night; the next one tries again.
const RETRIES: i32 = 6;

pub(super) fn retention(pipeline: &Resolved) -> CronJob {
    let months = pipeline.postgres.retention_months.to_string();
    let args = ["db", "retention", "--months", &months];
    CronJob {
        metadata: metadata(pipeline, format!("{}-retention", pipeline.name), Some(Component::Database)),
        spec: Some(CronJobSpec {
            schedule: schedule(&pipeline.namespace, &pipeline.name),
            time_zone: Some("Etc/UTC".to_owned()),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(LATEST_START_SECONDS),
            successful_jobs_history_limit: Some(1),
            failed_jobs_history_limit: Some(2),
            job_template: JobTemplateSpec {
                metadata: None,
                spec: Some(JobSpec {
                    backoff_limit: Some(RETRIES),
                    template: database_pod(pipeline, &args, settings::of_retention(pipeline)),
                    ..JobSpec::default()
                }),
            },
            ..CronJobSpec::default()
        }),
        ..CronJob::default()
    }
}

/// Between 01:00 and 03:59 UTC, always the same for one pipeline: many pipelines on one server do not begin together.
fn schedule(namespace: &str, name: &str) -> String {
    let hash = Sha256::digest(format!("{namespace}/{name}"));
    format!("{} {} * * *", hash[0] % 60, 1 + hash[1] % 3)
}
