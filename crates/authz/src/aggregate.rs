//! Role aggregation: a ClusterRole with an `aggregationRule` holds the rules of all ClusterRoles it selects.

use apimachinery::selector::LabelSelector;
use serde_json::{Map, Value};

use crate::rule::PolicyRule;

/// The rules that `cluster_role` shall have given `all` ClusterRoles; `None` when it does not aggregate.
///
/// Selected roles are taken in the order of their names, the role itself left out, equal rules once. A selector
/// that cannot be read selects nothing.
pub fn aggregate(cluster_role: &Value, all: &[Value]) -> Option<Vec<PolicyRule>> {
    let selectors = cluster_role
        .get("aggregationRule")
        .filter(|rule| !rule.is_null())?
        .get("clusterRoleSelectors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|selector| LabelSelector::from_json(selector).ok());
    let own_name = name(cluster_role);
    let mut others: Vec<&Value> = all
        .iter()
        .filter(|role| kind(role) != "Role" && name(role) != own_name)
        .collect();
    others.sort_by_key(|role| name(role));

    let none = Map::new();
    let mut rules: Vec<PolicyRule> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for selector in selectors {
        for role in &others {
            let labels = role
                .pointer("/metadata/labels")
                .and_then(Value::as_object)
                .unwrap_or(&none);
            if !selector.matches(labels) {
                continue;
            }
            for rule in PolicyRule::of_role(role) {
                if seen.insert(rule.clone()) {
                    rules.push(rule);
                }
            }
        }
    }
    Some(rules)
}

/// Brings the rules of every aggregated ClusterRole in `objects` up to date, through chains of aggregation.
/// Objects of other kinds may be among them. Says whether anything changed.
pub fn aggregate_all(objects: &mut [Value]) -> bool {
    let roles: Vec<usize> = (0..objects.len())
        .filter(|&i| objects.get(i).map(kind) == Some("ClusterRole"))
        .collect();
    let mut snapshot: Vec<Value> = roles
        .iter()
        .filter_map(|&i| objects.get(i).cloned())
        .collect();
    let mut changed_any = false;
    // Rules only travel along labels, so a chain settles after at most as many rounds as there are roles.
    for _ in 0..=roles.len() {
        let mut changed = false;
        for at in 0..snapshot.len() {
            let wanted = snapshot.get(at).and_then(|role| {
                let rules = aggregate(role, &snapshot)?;
                (rules != PolicyRule::of_role(role)).then_some(rules)
            });
            if let (Some(rules), Some(role)) = (wanted, snapshot.get_mut(at)) {
                role["rules"] = rules.iter().map(PolicyRule::to_value).collect();
                changed = true;
            }
        }
        changed_any |= changed;
        if !changed {
            break;
        }
    }
    for (index, role) in roles.into_iter().zip(snapshot) {
        if let Some(object) = objects.get_mut(index) {
            *object = role;
        }
    }
    changed_any
}

fn name(role: &Value) -> &str {
    role.pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn kind(role: &Value) -> &str {
    role.get("kind").and_then(Value::as_str).unwrap_or_default()
}
