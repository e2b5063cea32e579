//! The Ingress, a host for the ingest API and one for the Web UI.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::{labels::metadata, ports::Ports};
use crate::pipeline::resolve::{Component, Exposure, Resolved};

/// None where no host leads anywhere: an Ingress needs a rule.
pub(super) fn ingress(pipeline: &Resolved) -> Option<Ingress> {
    let Exposure::Ingress(wanted) = &pipeline.exposure else { return None };
    let web_ui = wanted.web_ui_host.as_ref().filter(|_| pipeline.web_ui.is_some());
    let hosts: Vec<(&String, Component)> =
        [(wanted.ingest_host.as_ref(), Component::Ingestor), (web_ui, Component::WebUi)]
            .into_iter()
            .filter_map(|(host, component)| Some((host?, component)))
            .collect();
    if hosts.is_empty() {
        return None;
    }
    let mut metadata = metadata(pipeline, pipeline.name.clone(), None);
    metadata.annotations = Some(wanted.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let tls = wanted.tls_secret.as_ref().map(|secret| {
        let hosts = hosts.iter().map(|(host, _)| (*host).clone()).collect();
        vec![IngressTLS { hosts: Some(hosts), secret_name: Some(secret.clone()) }]
    });
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: wanted.class_name.clone(),
            rules: Some(hosts.iter().map(|(host, component)| rule(pipeline, host, *component)).collect()),
            tls,
            default_backend: None,
        }),
        ..Ingress::default()
    })
}

fn rule(pipeline: &Resolved, host: &str, component: Component) -> IngressRule {
    let port = Ports::of(component).map(|ports| ports.service.name.to_owned());
    let service = IngressServiceBackend {
        name: component.child_name(&pipeline.name),
        port: Some(ServiceBackendPort { name: port, number: None }),
    };
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    };
    IngressRule { host: Some(host.to_owned()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }
}
