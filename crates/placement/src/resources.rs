//! Requests of Pods and what is left of nodes.
//!
//! CPU counts in thousandths, everything else in whole units, rounded up; sums saturate. A Pod's
//! request is the larger of what runs together (containers and sidecars) and of each init container
//! beside the sidecars started before it; then pod-level requests take their place; then overhead.

use std::collections::BTreeMap;

use apimachinery::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use crate::{NodeFacts, PodFacts, Reason};

/// Amounts by resource name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

impl Resources {
    /// From the quantities of an API object; malformed ones are reported and left out.
    pub fn new(wire: Option<&BTreeMap<String, WireQuantity>>, errors: &mut Vec<String>) -> Self {
        let mut amounts = BTreeMap::new();
        for (name, quantity) in wire.into_iter().flatten() {
            match Quantity::parse(&quantity.0) {
                Ok(quantity) if name == "cpu" => {
                    amounts.insert(name.clone(), quantity.milli_value());
                }
                Ok(quantity) => {
                    amounts.insert(name.clone(), quantity.value());
                }
                Err(error) => errors.push(format!("resource {name} {:?}: {error}", quantity.0)),
            }
        }
        Self(amounts)
    }

    /// The amount of one resource; zero where not given.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.get(name).saturating_add(*amount);
            self.set(name, sum);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let difference = self.get(name).saturating_sub(*amount);
            self.set(name, difference);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let larger = self.get(name).max(*amount);
            self.set(name, larger);
        }
    }
}

/// What a container asks for: its requests, and limits where it has no request.
fn requests(wire: Option<&ResourceRequirements>, errors: &mut Vec<String>) -> Resources {
    let mut amounts = Resources::new(wire.and_then(|r| r.limits.as_ref()), errors);
    amounts
        .0
        .extend(Resources::new(wire.and_then(|r| r.requests.as_ref()), errors).0);
    amounts
}

pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a Pod asks for as a whole.
pub(crate) fn of_pod(spec: &PodSpec, errors: &mut Vec<String>) -> Resources {
    let mut together = Resources::default();
    for container in &spec.containers {
        together.add(&requests(container.resources.as_ref(), errors));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container.resources.as_ref(), errors);
        if is_sidecar(container) {
            together.add(&own);
            sidecars.add(&own);
            peak.raise(&sidecars);
        } else {
            let mut step = sidecars.clone();
            step.add(&own);
            peak.raise(&step);
        }
    }
    together.raise(&peak);
    let pod_level = requests(spec.resources.as_ref(), errors);
    together.0.extend(pod_level.0);
    together.add(&Resources::new(spec.overhead.as_ref(), errors));
    together
}

/// The resources of which the node has too little left.
pub(crate) fn insufficient(pod: &PodFacts, node: &NodeFacts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let count = i64::try_from(node.pods().len()).unwrap_or(i64::MAX);
    if count.saturating_add(1) > node.allocatable.get("pods") {
        reasons.push(Reason::TooManyPods);
    }
    for (name, amount) in pod
        .requests
        .0
        .iter()
        .filter(|(name, amount)| **amount > 0 && *name != "pods")
    {
        let left = node
            .allocatable
            .get(name)
            .saturating_sub(node.requested().get(name));
        if *amount > left {
            reasons.push(Reason::Insufficient(name.clone()));
        }
    }
    reasons
}
