//! The CustomResourceDefinitions, made from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::{Map, Value, json};

use crate::alert_rule::AlertRuleStatus;
use crate::{GROUP, MuttPipeline, VERSION};

/// Formats that the API server knows; it warns about others (`uint32`, which schemars writes) at each apply.
const KNOWN_FORMATS: [&str; 6] = ["int32", "int64", "float", "double", "date-time", "byte"];
/// Fields of Kubernetes' own types: their structure is checked, their long descriptions are left to Kubernetes' reference. With them
/// the definition would not fit under the 256 KiB that a client-side apply may have.
const KUBERNETES_TYPES: [&str; 12] = [
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "env",
    "extraVolumes",
    "extraVolumeMounts",
    "resources",
    "clients",
    "scrapers",
    "behavior",
    "ruleSelector",
    "ruleNamespaceSelector",
];
/// Bounds where a type gives none: without any, the API server takes a list for endless when it prices CEL rules.
const ITEMS_MAX: u64 = 256;
const STRING_LENGTH_MAX: u64 = 32_768;
const PROPERTIES_MAX: u64 = 256;

/// Whether the field of this name holds a type of Kubernetes' own.
pub fn is_kubernetes_type(field: &str) -> bool {
    KUBERNETES_TYPES.contains(&field)
}

/// Both definitions by file name, as JSON in the order in which people read them.
pub fn all() -> [(&'static str, Value); 2] {
    [("alertrules", alert_rule()), ("muttpipelines", mutt_pipeline())]
}

/// Both definitions as typed objects, for tests that install them.
///
/// # Errors
/// Never, unless a type's schema is no structural schema.
pub fn typed() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    all().into_iter().map(|(_, definition)| serde_json::from_value(definition)).collect()
}

/// The definition of MuttPipeline.
pub fn mutt_pipeline() -> Value {
    let mut definition = serde_json::to_value(MuttPipeline::crd()).unwrap_or_default();
    let root = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    // Names of children are `<pipeline>-<component>-<hash>`; labels and Service names end at 63 characters.
    root["x-kubernetes-validations"] = json!([{
        "rule": "size(self.metadata.name) <= 40",
        "message": "the name of a MuttPipeline may have at most 40 characters, since its children's names begin with it",
    }, {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "the name of a MuttPipeline must begin with a letter and hold only lower case letters, digits and '-', since its Services are named after it",
    }]);
    normalise_root(root);
    for selector in ["ruleSelector", "ruleNamespaceSelector"] {
        check_expressions(&mut root["properties"]["spec"]["properties"][selector]["properties"]["matchExpressions"]);
    }
    definition["metadata"] = json!({"name": definition["metadata"]["name"]});
    definition
}

/// Kubernetes' type of a selector takes any text as operator; one that means nothing would select nothing, without a word.
fn check_expressions(expressions: &mut Value) {
    expressions["maxItems"] = 32.into();
    let expression = &mut expressions["items"];
    expression["properties"]["operator"]["enum"] = json!(["In", "NotIn", "Exists", "DoesNotExist"]);
    expression["properties"]["values"]["maxItems"] = 128.into();
    expression["x-kubernetes-validations"] = json!([{
        "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
        "message": "In and NotIn need values, Exists and DoesNotExist take none",
    }]);
}

/// The definition of AlertRule.
pub fn alert_rule() -> Value {
    let mut root = json!({
        "type": "object",
        "description": "A rule that says which events become alerts, for whom, and what is done with them. The same YAML works with `mutt rules apply`.",
        "required": ["spec"],
        "properties": {"spec": schema::<mutt_rules::AlertRuleSpec>(), "status": schema::<AlertRuleStatus>()},
    });
    normalise_root(&mut root);
    let column = |name: &str, kind: &str, path: &str, description: &str| {
        let mut column = json!({"name": name, "type": kind, "jsonPath": path});
        if !description.is_empty() {
            column["description"] = description.into();
        }
        column
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("alertrules.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {"kind": "AlertRule", "plural": "alertrules", "singular": "alertrule", "shortNames": ["ar"], "categories": ["mutt"]},
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Priority", "integer", ".spec.priority", "the lower number is tried first"),
                    column("Team", "string", ".spec.team", ""),
                    column("Mode", "string", ".spec.mode", ""),
                    column("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status", "the rule compiles and its tests pass"),
                    column("Active", "string", ".status.conditions[?(@.type==\"Active\")].status", "all live alerters use this form of it"),
                    column("Age", "date", ".metadata.creationTimestamp", ""),
                ],
                "schema": {"openAPIV3Schema": root},
            }],
        },
    })
}

/// A type's schema in the form that the API server takes; the same settings as kube's derive.
fn schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
    }
    schema
}

fn normalise_root(root: &mut Value) {
    let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        normalise(property, name == "spec", false);
    }
}

/// Takes out what the API server does not know, adds bounds (`bounded`) and leaves out descriptions inside Kubernetes' own types.
fn normalise(schema: &mut Value, bounded: bool, kubernetes: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("title");
    if object.get("format").and_then(Value::as_str).is_some_and(|format| !KNOWN_FORMATS.contains(&format)) {
        object.remove("format");
    }
    if bounded {
        add_bounds(object);
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            let type_of_kubernetes = kubernetes || KUBERNETES_TYPES.contains(&name.as_str());
            if kubernetes && let Some(property) = property.as_object_mut() {
                property.remove("description");
            }
            normalise(property, bounded && !type_of_kubernetes, type_of_kubernetes);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            if let Some(inner) = inner.as_object_mut() {
                inner.remove("description");
            }
            normalise(inner, bounded, kubernetes);
        }
    }
}

fn add_bounds(object: &mut Map<String, Value>) {
    let plain = !object.contains_key("enum") && !object.contains_key("x-kubernetes-int-or-string");
    match object.get("type").and_then(Value::as_str) {
        Some("array") => object.entry("maxItems").or_insert_with(|| ITEMS_MAX.into()),
        Some("string") if plain => object.entry("maxLength").or_insert_with(|| STRING_LENGTH_MAX.into()),
        Some("object") if object.contains_key("additionalProperties") => {
            object.entry("maxProperties").or_insert_with(|| PROPERTIES_MAX.into())
        }
        _ => return,
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn walk(value: &Value, path: &str, look: &mut dyn FnMut(&str, &Value)) {
        look(path, value);
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key}"), look)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, &format!("{path}[]"), look)),
            _ => {}
        }
    }

    #[test]
    fn definitions_hold_no_empty_list_and_no_unknown_format() {
        for (name, definition) in all() {
            walk(&definition, name, &mut |path, value| {
                assert!(!value.as_array().is_some_and(Vec::is_empty), "{path} is an empty list");
                if path.ends_with(".format")
                    && let Some(format) = value.as_str()
                {
                    assert!(KNOWN_FORMATS.contains(&format), "{path}: {format}");
                }
            });
        }
    }

    #[test]
    fn definitions_fit_into_a_client_side_apply_twice() {
        for (name, definition) in all() {
            // kubectl keeps what was applied, as JSON without spaces, in an annotation; all annotations together may have 256 KiB.
            let length = definition.to_string().len();
            assert!(length < 128 * 1_024, "{name} has {length} bytes");
        }
    }

    #[test]
    fn every_field_of_ours_is_described() {
        for (name, definition) in all() {
            let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            described(&root["properties"]["spec"], &format!("{name}.spec"));
        }
    }

    fn described(schema: &Value, path: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(property["description"].is_string(), "{path} has no description");
            if !KUBERNETES_TYPES.contains(&name.as_str()) {
                described(property, &path);
                described(&property["items"], &path);
            }
        }
    }

    #[test]
    fn definitions_are_typed_objects() {
        assert_eq!(typed().unwrap().len(), 2);
    }
}
