//! The ServiceMonitor over all roles, for the Prometheus operator.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    foreign::{CaSource, Endpoint, Relabeling, SecretRef, ServiceMonitor, ServiceMonitorConfig, TlsConfig},
    labels::{COMPONENT, PIPELINE, metadata},
};
use crate::pipeline::resolve::{Component, Resolved, Tls};

/// Label of every series that names the pipeline.
pub(super) const SERIES_LABEL: &str = "pipeline";

pub(super) fn service_monitor(pipeline: &Resolved) -> Option<ServiceMonitor> {
    let wanted = pipeline.service_monitor.as_ref()?;
    let endpoint = |port: &str| Endpoint {
        port: port.to_owned(),
        scheme: if pipeline.tls.is_some() { "https" } else { "http" }.to_owned(),
        interval: wanted.interval_seconds.map(|seconds| format!("{seconds}s")),
        tls_config: pipeline.tls.as_ref().map(|tls| tls_config(pipeline, tls)),
        relabelings: vec![Relabeling { target_label: SERIES_LABEL.to_owned(), replacement: pipeline.name.clone() }],
    };
    let labels = BTreeMap::from([(PIPELINE.to_owned(), pipeline.name.clone())]);
    let mut monitor = ServiceMonitor::new(
        &pipeline.name,
        ServiceMonitorConfig {
            selector: LabelSelector { match_labels: Some(labels), ..LabelSelector::default() },
            job_label: COMPONENT.to_owned(),
            endpoints: vec![endpoint("http"), endpoint("metrics")],
        },
    );
    monitor.metadata = metadata(pipeline, pipeline.name.clone(), None);
    with_labels(&mut monitor.metadata.labels, &wanted.labels);
    Some(monitor)
}

/// The owner's labels beside ours, which win.
pub(super) fn with_labels(own: &mut Option<BTreeMap<String, String>>, added: &BTreeMap<String, String>) {
    let own = own.get_or_insert_default();
    for (key, value) in added {
        own.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// All roles present the one certificate of `spec.tls`, whose name is that of the ingestor's Service. Where the Secret does not say
/// who signed it, Prometheus cannot check it.
fn tls_config(pipeline: &Resolved, tls: &Tls) -> TlsConfig {
    if !tls.has_ca {
        return TlsConfig { insecure_skip_verify: Some(true), ..TlsConfig::default() };
    }
    let service = Component::Ingestor.child_name(&pipeline.name);
    TlsConfig {
        ca: Some(CaSource { secret: SecretRef { name: tls.secret.clone(), key: "ca.crt".to_owned() } }),
        server_name: Some(format!("{service}.{}.svc", pipeline.namespace)),
        insecure_skip_verify: None,
    }
}
