//! Macros over two variables, as cel-go's `ext.TwoVarComprehensions` has them: index and element of a list, key and
//! value of a map. The outside parser leaves them as calls.
//!
//! | macro | gives |
//! |---|---|
//! | `all(k, v, test)`, `exists(..)`, `existsOne(..)` | whether the test holds for all, some, or just one |
//! | `transformList(k, v, [test,] made)` | a list |
//! | `transformMap(k, v, [test,] made)` | a map with the same keys (indexes of a list) |
//! | `transformMapEntry(k, v, [test,] {key: value})` | a map of those entries |

use kube_cel::cel::common::ast::{CallExpr, Expr};

use crate::expression::Ast;

/// What is made of the tests or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    All,
    Exists,
    ExistsOne,
    List,
    Map,
    MapEntry,
}

/// One use of a macro.
pub(crate) struct TwoVars<'e> {
    pub(crate) kind: Kind,
    pub(crate) range: &'e Ast,
    pub(crate) names: [&'e str; 2],
    pub(crate) filter: Option<&'e Ast>,
    pub(crate) body: &'e Ast,
}

impl<'e> TwoVars<'e> {
    /// The macro that a call is, if any.
    pub(crate) fn of(call: &'e CallExpr) -> Option<Self> {
        let (kind, filtered) = match call.func_name.as_str() {
            "all" => (Kind::All, false),
            "exists" => (Kind::Exists, false),
            "existsOne" | "exists_one" => (Kind::ExistsOne, false),
            "transformList" => (Kind::List, true),
            "transformMap" => (Kind::Map, true),
            "transformMapEntry" => (Kind::MapEntry, true),
            _ => return None,
        };
        let range = call.target.as_deref()?;
        let (first, second, filter, body) = match call.args.as_slice() {
            [first, second, body] => (first, second, None, body),
            [first, second, filter, body] if filtered => (first, second, Some(filter), body),
            _ => return None,
        };
        let (Expr::Ident(first), Expr::Ident(second)) = (&first.expr, &second.expr) else {
            return None;
        };
        (first != second).then_some(TwoVars {
            kind,
            range,
            names: [first, second],
            filter,
            body,
        })
    }
}
