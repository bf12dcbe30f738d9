//! The published JSON Schema of the manifest, for editors.

use serde_json::{Map, Value, json};

use super::fields::{BUILD, ENVIRONMENT, Field, HEALTH, SERVICE, TOP};

/// Where the schema is published.
const ID: &str = "https://nonna.dev/schema/nonna.schema.json";

/// The JSON Schema (draft 2020-12) of `nonna.toml`.
#[must_use]
pub fn schema() -> Value {
    let mut root = object(TOP);
    if let Some(root) = root.as_object_mut() {
        root.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        root.insert("$id".into(), ID.into());
        root.insert("title".into(), "nonna.toml".into());
        root.insert(
            "description".into(),
            "The manifest of Nonna. All of it is optional.".into(),
        );
        root.insert(
            "$defs".into(),
            json!({
                "service": service(),
                "environment": object(ENVIRONMENT),
                "health": object(HEALTH),
                "build": object(BUILD),
            }),
        );
    }
    root
}

fn service() -> Value {
    let mut service = object(SERVICE);
    if let Some(service) = service.as_object_mut() {
        let only_built = [
            "source",
            "dockerfile",
            "target",
            "build_arguments",
            "build_timeout",
            "build",
        ];
        service.insert(
            "dependentSchemas".into(),
            json!({
                "image": {"not": {"anyOf": only_built.map(|name| json!({"required": [name]}))}},
                "dockerfile": {"properties": {"build": {"propertyNames": {"const": "secrets"}}}},
            }),
        );
    }
    service
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = (field.schema)();
            if let Some(schema) = schema.as_object_mut() {
                let about = format!("{} Default: {}.", field.about, field.default);
                schema.insert("description".into(), about.into());
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}
