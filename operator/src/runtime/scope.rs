//! What is looked at on its own: each namespace that was named, or all at once.

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject},
};

/// The scopes of `--watch-namespace`: `None` = all namespaces.
pub fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() }
}

/// The objects of a kind in a scope.
pub fn api_in<K>(client: Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// The same of a kind that is known by name only.
pub fn dynamic_api_in(client: Client, scope: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match scope {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}
