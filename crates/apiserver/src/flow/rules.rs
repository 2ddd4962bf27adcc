//! The classifier: from a request to its priority level, its flow and its width. Pure.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use ::authz::User;
use http::HeaderValue;

use super::level::Level;
use super::schema::FlowSchema;
use super::shares::{LevelLimits, Slot};
use crate::limits;
use crate::request::RequestInfo;

/// Name of the level that takes what no schema takes.
pub(crate) const CATCH_ALL: &str = "catch-all";

/// The slot of the callers in this process; see [`super::Gate`].
pub(crate) const IN_PROCESS: Slot = 0;

/// A level that requests are sent to.
#[derive(Debug)]
pub(crate) struct Target {
    pub level: Level,
    pub slot: Slot,
    pub limits: LevelLimits,
    /// The level's uid, for the answer's header.
    pub uid: HeaderValue,
}

/// The rules of one moment.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// In the order in which they are asked, with the index of their level.
    pub schemas: Vec<(Arc<FlowSchema>, usize)>,
    pub targets: Vec<Target>,
}

/// Where a request belongs.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub schema: Arc<FlowSchema>,
    pub level_uid: HeaderValue,
    pub slot: Slot,
    pub flow: u64,
    /// Most seats that one request of the level may take.
    pub widest: u32,
}

impl Rules {
    /// Makes rules of what is configured. `slot_of` gives every level its slot. A schema whose level does not exist
    /// takes nothing, as in Kubernetes.
    pub(crate) fn new(
        mut schemas: Vec<Arc<FlowSchema>>,
        levels: Vec<Level>,
        seats: u32,
        mut slot_of: impl FnMut(&str) -> Slot,
    ) -> Self {
        let all = levels.iter().filter(|l| !l.exempt).map(|l| l.shares).sum();
        let targets: Vec<Target> = levels
            .into_iter()
            .take(limits::MAX_LEVELS)
            .map(|level| Target {
                slot: slot_of(&level.name),
                limits: level.limits(seats, all),
                uid: super::schema::uid_header(&level.uid),
                level,
            })
            .collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let schemas = schemas.into_iter().filter_map(|schema| {
            let level = targets.iter().position(|t| t.level.name == schema.level)?;
            Some((schema, level))
        });
        Rules {
            schemas: schemas.take(limits::MAX_FLOW_SCHEMAS).collect(),
            targets,
        }
    }

    /// Where a request of a client belongs. `None` only without any configuration.
    pub(crate) fn classify(
        &self,
        info: &RequestInfo,
        user: &User,
        hasher: &RandomState,
    ) -> Option<Class> {
        let (schema, index) = self
            .schemas
            .iter()
            .find(|(schema, _)| schema.matches(info, user))
            // Kubernetes' catch-all matches everybody; a request that nothing takes all the same goes there too.
            .or_else(|| self.schemas.iter().find(|(s, _)| s.name == CATCH_ALL))
            .or(self.schemas.last())?;
        let target = self.targets.get(*index)?;
        Some(Class {
            schema: Arc::clone(schema),
            level_uid: target.uid.clone(),
            slot: target.slot,
            flow: hasher.hash_one((&schema.name, schema.flow(info, user))),
            widest: widest(&target.limits),
        })
    }
}

/// One request takes at most 15 % of its level, so that a few wide ones cannot fill it (as Kubernetes), and no more
/// than the level is sure to get.
fn widest(level: &LevelLimits) -> u32 {
    let part = (u64::from(level.nominal) * 15 / 100).min(u64::from(level.reserved));
    u32::try_from(part)
        .unwrap_or(limits::MAX_WIDTH)
        .clamp(1, limits::MAX_WIDTH)
}

/// Seats of a request: a list takes one for every hundred objects that it has to read, everything else one.
/// `stored` is about how many objects the resource has.
pub(crate) fn width(info: &RequestInfo, stored: u64) -> u32 {
    let lists = matches!(info.verb, "list" | "watch" | "deletecollection") && info.is_resource;
    if !lists || (info.verb == "watch" && !sends_state(info)) {
        return 1;
    }
    let limit = info.query.get("limit").and_then(|l| l.parse::<u64>().ok());
    let read = limit.filter(|l| *l > 0).map_or(stored, |l| l.min(stored));
    u32::try_from(read.div_ceil(limits::OBJECTS_PER_SEAT))
        .unwrap_or(limits::MAX_WIDTH)
        .clamp(1, limits::MAX_WIDTH)
}

/// Whether a watch begins with the objects that are there.
fn sends_state(info: &RequestInfo) -> bool {
    match info.query.get("sendInitialEvents") {
        Some(_) => info.query.flag("sendInitialEvents"),
        None => matches!(info.query.get("resourceVersion"), None | Some("" | "0")),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
