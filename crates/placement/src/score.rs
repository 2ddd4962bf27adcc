//! Which of the nodes that fit is best. Every score goes from 0 to 100 before its weight.

use crate::{NodeFacts, PodFacts, affinity, node_selector, spread, taints};

const TAINTS: i64 = 3;
const NODE_AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const POD_AFFINITY: i64 = 2;
const LEAST_ALLOCATED: i64 = 1;

/// The best of `fitting`; `nodes` are all nodes, whose Pods count for affinity and spread.
pub(crate) fn best<'n>(
    pod: &PodFacts,
    fitting: &[&'n NodeFacts],
    nodes: &[NodeFacts],
) -> Option<&'n NodeFacts> {
    let totals = totals(pod, fitting, nodes);
    let ranked = fitting.iter().zip(totals);
    ranked
        .max_by(|(a, x), (b, y)| x.cmp(y).then_with(|| b.name.cmp(&a.name)))
        .map(|(node, _)| *node)
}

/// The weighted sum for each of `fitting`.
pub(crate) fn totals(pod: &PodFacts, fitting: &[&NodeFacts], nodes: &[NodeFacts]) -> Vec<i64> {
    let mut totals: Vec<i64> = fitting
        .iter()
        .map(|node| LEAST_ALLOCATED * free_room(pod, node))
        .collect();
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * score;
        }
    };
    if !pod.preferred_nodes.is_empty() {
        add(
            NODE_AFFINITY,
            upwards(
                fitting
                    .iter()
                    .map(|n| node_selector::preference(pod, n))
                    .collect(),
            ),
        );
    }
    let disliked: Vec<i64> = fitting.iter().map(|n| taints::disliked(pod, n)).collect();
    if disliked.iter().any(|n| *n > 0) {
        add(
            TAINTS,
            upwards(disliked)
                .into_iter()
                .map(|score| 100 - score)
                .collect(),
        );
    }
    let weights = affinity::preferred_domains(pod, nodes);
    if !weights.is_empty() {
        let sums = fitting.iter().map(|node| {
            let domains = node
                .labels
                .iter()
                .filter_map(|(k, v)| weights.get(&(k.as_str(), v.as_str())));
            domains.fold(0_i64, |sum, weight| sum.saturating_add(*weight))
        });
        add(POD_AFFINITY, between(&sums.collect::<Vec<_>>()));
    }
    if pod.has_soft_spread() {
        add(SPREAD, uncrowded(&spread::crowding(pod, fitting, nodes)));
    }
    totals
}

/// Scales so that the largest becomes 100.
fn upwards(scores: Vec<i64>) -> Vec<i64> {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max <= 0 {
        return vec![0; scores.len()];
    }
    scores
        .into_iter()
        .map(|score| scaled(score.max(0), max))
        .collect()
}

/// Scales so that the smallest becomes 0 and the largest 100.
fn between(scores: &[i64]) -> Vec<i64> {
    let (min, max) = (
        scores.iter().copied().min().unwrap_or(0),
        scores.iter().copied().max().unwrap_or(0),
    );
    let range = max.saturating_sub(min);
    if range == 0 {
        return vec![0; scores.len()];
    }
    scores
        .iter()
        .map(|score| scaled(score.saturating_sub(min), range))
        .collect()
}

fn scaled(part: i64, whole: i64) -> i64 {
    i64::try_from(i128::from(part) * 100 / i128::from(whole)).unwrap_or(0)
}

/// The least crowded first; nodes outside of every domain last.
fn uncrowded(crowding: &[Option<f64>]) -> Vec<i64> {
    let known = crowding.iter().flatten();
    let (min, max) = known.fold((f64::MAX, 0.0_f64), |(min, max), c| {
        (min.min(*c), max.max(*c))
    });
    let score = |c: f64| {
        #[allow(clippy::cast_possible_truncation, reason = "0 to 100")]
        let score = (100.0 * (max + min - c) / max) as i64;
        if max == 0.0 { 100 } else { score.clamp(0, 100) }
    };
    crowding.iter().map(|c| c.map_or(0, score)).collect()
}

/// CPU and memory that stay free, in percent of the node. A Pod that asks for none counts a little,
/// so that many such Pods still spread.
fn free_room(pod: &PodFacts, node: &NodeFacts) -> i64 {
    let mut sum = 0;
    let mut kinds = 0;
    for (name, least) in [("cpu", 100), ("memory", 200 << 20)] {
        let total = node.allocatable.get(name);
        if total <= 0 {
            continue;
        }
        let of = |p: &PodFacts| match p.requests.get(name) {
            0 => least,
            amount => amount,
        };
        let used = node
            .pods()
            .iter()
            .fold(of(pod), |sum, p| sum.saturating_add(of(p)));
        kinds += 1;
        if used <= total {
            sum += scaled(total - used, total);
        }
    }
    if kinds == 0 { 0 } else { sum / kinds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_scaled() {
        assert_eq!(upwards(vec![0, 5, 10]), [0, 50, 100]);
        assert_eq!(upwards(vec![0, 0]), [0, 0]);
        assert_eq!(between(&[-10, 0, 10]), [0, 50, 100]);
        assert_eq!(between(&[7, 7]), [0, 0]);
        assert_eq!(between(&[i64::MIN, i64::MAX]), [0, 100]);
        assert_eq!(uncrowded(&[Some(0.0), Some(2.0), None]), [100, 0, 0]);
        assert_eq!(uncrowded(&[Some(0.0), Some(0.0)]), [100, 100]);
    }
}
