//! Defaults of a schema must keep its rules: both when they appear in a new object and when nothing changes.

use apimachinery::field::{FieldError, FieldPath};
use schema::Schema;

/// What the rules of a schema, which do compile, say of the defaults in it; paths are below `path`.
pub(super) fn against_rules(schema: &Schema, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // One budget for all: a schema may have any number of defaults.
    let mut budget = cel::Budget::of_object();
    walk(schema, path, &mut budget, &mut errors);
    errors
}

fn walk(schema: &Schema, path: &FieldPath, budget: &mut cel::Budget, errors: &mut Vec<FieldError>) {
    if budget.is_spent() {
        return;
    }
    if let Some(default) = &schema.default
        // The rules below were found good with those of the whole schema, but for their cost, which is another here.
        && let Ok(rules) = cel::rules::compile(schema, &FieldPath::root())
        && !rules.is_empty()
    {
        let at = path.child("default");
        let mut found = rules.evaluate(default, Some(default), &at, budget);
        if found.is_empty() {
            found = rules.evaluate(default, None, &at, budget);
        }
        errors.extend(found);
    }
    // Upstream does not look below `additionalProperties` either.
    if let Some(items) = &schema.items {
        walk(items, &path.child("items"), budget, errors);
    }
    for (name, property) in &schema.properties {
        let at = path.child("properties").key(name);
        walk(property, &at, budget, errors);
    }
}
