//! What strategic merge patches need to know about a kind.
//!
//! Only `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key` count, as in Kubernetes; list types
//! and map types are the language of server-side apply.

use apimachinery::patch::strategic::{ListStrategy, MapStrategy, PatchMeta};

use crate::model::Schema;

impl PatchMeta for Schema {
    fn list_strategy(&self, path: &[&str]) -> ListStrategy {
        let Some(list) = self.descend(path) else {
            return ListStrategy::Replace;
        };
        match (list.strategy_has("merge"), &list.patch_merge_key) {
            (false, _) => ListStrategy::Replace,
            (true, Some(key)) => ListStrategy::MergeByKey(key.clone()),
            (true, None) => ListStrategy::MergeSet,
        }
    }

    fn map_strategy(&self, path: &[&str]) -> MapStrategy {
        let replace = self
            .descend(path)
            .is_some_and(|map| map.strategy_has("replace"));
        if replace {
            MapStrategy::Replace
        } else {
            MapStrategy::Merge
        }
    }
}

impl Schema {
    /// The schema at a path of member names; elements of lists add nothing to a path.
    #[must_use]
    pub fn descend(&self, path: &[&str]) -> Option<&Schema> {
        let mut schema = self;
        for name in path {
            while let Some(items) = &schema.items {
                schema = items;
            }
            schema = schema.member(name)?;
        }
        Some(schema)
    }

    fn strategy_has(&self, word: &str) -> bool {
        let strategy = self.patch_strategy.as_deref().unwrap_or_default();
        strategy.split(',').any(|own| own == word)
    }
}
