//! The OpenAPI document, made of the table of routes.
//!
//! Deliberately absent: schemas of the bodies, which stand as types in `usher_api::http`.

use serde_json::{Map, Value, json};

use super::gate::Of;
use super::routes::Route;

/// The document as text.
pub(super) fn document(routes: &[Route]) -> String {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Usher", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "schemas": {"Error": error_schema()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    });
    format!("{document:#}")
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({"type": "string"});
        Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
    });
    let in_query = route.query.iter().map(|(name, kind, meaning)| {
        json!({"name": name, "in": "query", "description": meaning, "schema": {"type": kind}})
    });
    let error = json!({"$ref": "#/components/schemas/Error"});
    let mut operation = json!({
        "summary": route.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "2XX": {"description": "Success", "content": {route.gives: {}}},
            "default": {
                "description": "What went wrong, and whose fault it is",
                "content": {"application/json": {"schema": error}},
            },
        },
    });
    if route.access.of == Of::Nobody {
        operation["security"] = json!([]);
    }
    if let Some(takes) = route.takes {
        operation["requestBody"] = json!({"required": true, "content": {takes: {}}});
    }
    operation
}

fn error_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"error": {
            "type": "object",
            "required": ["label", "message", "blame", "details"],
            "properties": {
                "label": text,
                "message": text,
                "blame": {"enum": ["caller", "function", "platform"]},
                "details": {"type": "array", "items": text},
            },
        }},
    })
}
