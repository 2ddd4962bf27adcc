//! Evaluation of macros over two variables.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Map};

use super::{Machine, Outcome};
use crate::budget::Fault;
use crate::expression::Ast;
use crate::ops;
use crate::two_vars::{Kind, TwoVars};

/// What was gathered so far.
struct Gathered {
    /// How many passed the test.
    passed: usize,
    /// The first error of a test, while another element may still decide.
    fault: Option<Fault>,
    list: Vec<Value>,
    map: HashMap<Key, Value>,
}

impl<'e> Machine<'e> {
    pub(super) fn two_vars(&mut self, macro_: &TwoVars<'e>) -> Outcome {
        let pairs: Vec<(Value, Value)> = match self.eval(macro_.range)? {
            Value::List(list) => {
                let index = |at: usize| Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                let pairs = list.iter().enumerate();
                pairs.map(|(at, item)| (index(at), item.clone())).collect()
            }
            Value::Map(map) => {
                let mut entries: Vec<(&Key, &Value)> = map.map.iter().collect();
                entries.sort_by(|a, b| a.0.cmp(b.0));
                let pair = |(key, value): (&Key, &Value)| (ops::key_value(key), value.clone());
                entries.into_iter().map(pair).collect()
            }
            _ => return Err(Fault::Overload),
        };
        self.budget.charge(1 + pairs.len() as u64)?;
        let mut gathered = Gathered {
            passed: 0,
            fault: None,
            list: Vec::new(),
            map: HashMap::new(),
        };
        let depth = self.scope.len();
        let [first, second] = macro_.names;
        for (key, value) in pairs {
            self.scope.push((first, Ok(key.clone())));
            self.scope.push((second, Ok(value)));
            let decided = self.step(macro_, &key, &mut gathered);
            self.scope.truncate(depth);
            if let Some(decided) = decided? {
                return Ok(Value::Bool(decided));
            }
        }
        match (macro_.kind, gathered.fault) {
            (Kind::All | Kind::Exists, Some(fault)) => Err(fault),
            (Kind::All, None) => Ok(Value::Bool(true)),
            (Kind::Exists, None) => Ok(Value::Bool(false)),
            (Kind::ExistsOne, _) => Ok(Value::Bool(gathered.passed == 1)),
            (Kind::List, _) => Ok(Value::List(Arc::new(gathered.list))),
            (Kind::Map | Kind::MapEntry, _) => {
                let map = Arc::new(gathered.map);
                Ok(Value::Map(Map { map }))
            }
        }
    }

    fn test(&mut self, test: &'e Ast) -> Result<bool, Fault> {
        match self.eval(test)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(Fault::Overload),
        }
    }

    /// Takes up one pair; gives the answer when it is decided.
    fn step(
        &mut self,
        macro_: &TwoVars<'e>,
        key: &Value,
        gathered: &mut Gathered,
    ) -> Result<Option<bool>, Fault> {
        self.budget.charge(1)?;
        match macro_.kind {
            Kind::All | Kind::Exists => {
                let decisive = macro_.kind == Kind::Exists;
                match self.test(macro_.body) {
                    Ok(holds) if holds == decisive => return Ok(Some(decisive)),
                    Ok(_) => {}
                    Err(Fault::Exhausted) => return Err(Fault::Exhausted),
                    Err(fault) => {
                        gathered.fault.get_or_insert(fault);
                    }
                }
                return Ok(None);
            }
            Kind::ExistsOne => {
                gathered.passed += usize::from(self.test(macro_.body)?);
                return Ok(None);
            }
            Kind::List | Kind::Map | Kind::MapEntry => {}
        }
        if let Some(filter) = macro_.filter
            && !self.test(filter)?
        {
            return Ok(None);
        }
        let made = self.eval(macro_.body)?;
        match (macro_.kind, made) {
            (Kind::List, made) => gathered.list.push(made),
            (Kind::MapEntry, Value::Map(entries)) => {
                self.budget.charge(1 + entries.map.len() as u64)?;
                for (key, value) in entries.map.iter() {
                    insert(&mut gathered.map, key.clone(), value.clone())?;
                }
            }
            (Kind::MapEntry, _) => return Err(Fault::Overload),
            (_, made) => {
                let key = ops::key(key).ok_or(Fault::Overload)?;
                insert(&mut gathered.map, key, made)?;
            }
        }
        Ok(None)
    }
}

fn insert(map: &mut HashMap<Key, Value>, key: Key, value: Value) -> Result<(), Fault> {
    if map.insert(key, value).is_some() {
        let text = "insert failed: key already exists";
        return Err(Fault::Function(text.to_owned()));
    }
    Ok(())
}
