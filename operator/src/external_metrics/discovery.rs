//! What clients and the API server ask before they ask for a metric. Small, and without what the API server would complain
//! about in its log.

use serde_json::{Value, json};

use super::{
    series::Metric,
    target::{GROUP, VERSION},
};
use crate::runtime::telemetry::VERSION as BUILD;

/// `/apis`.
pub(super) fn groups() -> Value {
    let mut group = group();
    if let Some(members) = group.as_object_mut() {
        members.retain(|name, _| name != "kind" && name != "apiVersion");
    }
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
}

/// `/apis/<group>`.
pub(super) fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version})
}

/// `/apis/<group>/<version>`: each metric is a resource.
pub(super) fn resources() -> Value {
    let resource = |metric: Metric| {
        json!({
            "name": metric.name(), "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        })
    };
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": Metric::ALL.map(resource),
    })
}

/// `/version`, as the API server tells its own.
pub(super) fn version() -> Value {
    let mut numbers = BUILD.split('.');
    json!({
        "major": numbers.next().unwrap_or_default(), "minor": numbers.next().unwrap_or_default(),
        "gitVersion": format!("v{BUILD}"),
    })
}

/// `/openapi/v2`: no type of its own that a client would have to know.
pub(super) fn open_api_v2() -> Value {
    json!({"swagger": "2.0", "info": {"title": GROUP, "version": VERSION}, "paths": {}, "definitions": {}})
}

/// `/openapi/v3`: the one document that there is. The hash lets clients keep it.
pub(super) fn open_api_v3() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    let url = format!("/openapi/v3/{path}?hash={BUILD}");
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

/// That document.
pub(super) fn open_api_v3_document() -> Value {
    json!({"openapi": "3.0.0", "info": {"title": GROUP, "version": VERSION}, "paths": {}, "components": {}})
}

/// Whether JSON without further ado is among what is asked for. Aggregated discovery (`as=APIGroupDiscoveryList`) is not
/// served: after a 406 clients and the API server ask in the older way.
pub(super) fn takes_json(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return true };
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let is_json = ["application/json", "application/*", "*/*"].iter().any(|json| media.eq_ignore_ascii_case(json));
        is_json && !parts.any(|parameter| parameter.starts_with("as=") || parameter.starts_with("g="))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_discovery_and_protobuf_alone_are_not_acceptable() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        for (accept, takes) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("application/json"), true),
            (Some("application/vnd.kubernetes.protobuf, */*"), true),
            (Some("application/json;q=0.5"), true),
            (Some(aggregated), false),
            (Some(&format!("{aggregated},application/json")), true),
            (Some("application/vnd.kubernetes.protobuf"), false),
            (Some("text/html"), false),
        ] {
            assert_eq!(takes_json(accept), takes, "{accept:?}");
        }
    }
}
