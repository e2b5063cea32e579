//! OpenShift's Routes, one to the ingestor and one to the Web UI.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mutt_crds::pipeline::{RouteSpec, RouteTermination};

use super::{
    foreign::{Route, RouteConfig, RoutePort, RouteTarget, RouteTls},
    labels::metadata,
    ports::Ports,
};
use crate::pipeline::resolve::{Component, Exposure, Resolved};

pub(super) fn routes(pipeline: &Resolved) -> Vec<Route> {
    let Exposure::Route(wanted) = &pipeline.exposure else { return Vec::new() };
    let ingestor = route(pipeline, wanted, Component::Ingestor, wanted.ingest_host.as_ref());
    let web_ui =
        pipeline.web_ui.is_some().then(|| route(pipeline, wanted, Component::WebUi, wanted.web_ui_host.as_ref()));
    std::iter::once(ingestor).chain(web_ui).collect()
}

fn route(pipeline: &Resolved, wanted: &RouteSpec, component: Component, host: Option<&String>) -> Route {
    let name = component.child_name(&pipeline.name);
    let port = Ports::of(component).map_or("http", |ports| ports.service.name);
    let mut route = Route::new(
        &name,
        RouteConfig {
            host: host.cloned(),
            to: RouteTarget { kind: "Service".to_owned(), name: name.clone() },
            port: RoutePort { target_port: IntOrString::String(port.to_owned()) },
            tls: tls(wanted, component),
        },
    );
    route.metadata = metadata(pipeline, name, Some(component));
    route
}

fn tls(wanted: &RouteSpec, component: Component) -> RouteTls {
    let (termination, authority) = match wanted.termination {
        RouteTermination::Edge => ("edge", None),
        RouteTermination::Reencrypt => ("reencrypt", wanted.destination_ca_certificate.clone()),
        RouteTermination::Passthrough => ("passthrough", None),
    };
    // A browser is led to https; a sender would have sent its key in the clear by then, and is refused.
    let plain_http = if component == Component::WebUi { "Redirect" } else { "None" };
    RouteTls {
        termination: termination.to_owned(),
        insecure_edge_termination_policy: plain_http.to_owned(),
        destination_ca_certificate: authority,
    }
}
