//! Judges packages by the rules. Pure.

use super::rules::{IMPURE, Layer, OUTSIDE, PLACES, Place, SHIPPED_EDGE};

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) name: String,
    /// Whether it is more than a dev-dependency.
    pub(super) shipped: bool,
}

/// A package of the workspace, with import names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    /// What it uses of ours.
    pub(super) own: Vec<Use>,
    /// What it uses from outside.
    pub(super) outside: Vec<Use>,
}

/// Where a crate stands.
pub(super) fn place(name: &str) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.name == name)
}

/// Everything that breaks a rule.
pub(super) fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(place) = place(name) else {
            faults.push(format!(
                "{name} is in no layer: give it a place in PLACES, with a reason"
            ));
            continue;
        };
        for r#use in &package.own {
            if let Some(rule) = direction(place, &r#use.name) {
                faults.push(format!(
                    "{name} must not depend on {}: {rule} ({})",
                    r#use.name, place.why
                ));
            }
        }
        for r#use in &package.outside {
            if let Some(rule) = confinement(place, r#use) {
                faults.push(format!("{name} must not import {}: {rule}", r#use.name));
            }
        }
    }
    faults
}

/// The rule that a dependency on one of ours breaks.
fn direction(user: &Place, used: &str) -> Option<String> {
    let Some(to) = place(used) else {
        return Some("it is in no layer".to_owned());
    };
    match user.layer {
        Layer::Edge => None,
        Layer::Mechanism => Some("a mechanism uses nothing of ours".to_owned()),
        Layer::Service { of } => (!of.contains(&used)).then(|| match of {
            [] => "it uses nothing of ours".to_owned(),
            of => format!("of ours it uses only {}", of.join(", ")),
        }),
        Layer::Pure { rank } => match to.layer {
            Layer::Pure { rank: lower } if lower < rank => None,
            Layer::Pure { .. } => Some(
                "pure crates depend in one direction: apimachinery, then schema, authz, api, then smd, cel, machine, placement"
                    .to_owned(),
            ),
            _ => Some("pure crates do no I/O".to_owned()),
        },
    }
}

/// The rule that a dependency on something from outside breaks.
fn confinement(user: &Place, used: &Use) -> Option<String> {
    let name = used.name.as_str();
    if matches!(user.layer, Layer::Pure { .. }) && IMPURE.contains(&name) {
        return Some("pure crates have no runtime, no clock, no randomness, no system".to_owned());
    }
    // Tests may talk to real servers; crates that are not shipped carry no risk.
    if !used.shipped || (user.layer == Layer::Edge && !SHIPPED_EDGE.contains(&user.name)) {
        return None;
    }
    let outside = OUTSIDE.iter().find(|outside| outside.name == name)?;
    (!outside.only.contains(&user.name))
        .then(|| format!("only {} may: {}", outside.only.join(", "), outside.why))
}
