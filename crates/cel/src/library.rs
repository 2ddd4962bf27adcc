//! Calls of the outside crate's functions.
//!
//! The library knows functions by name and takes them from a context; a call is made of a small syntax tree
//! whose arguments are variables. Only functions of the table in [`crate::functions`] come here.

use kube_cel::KubeCelExt;
use kube_cel::cel::common::ast::{CallExpr, Expr};
use kube_cel::cel::{Context, ExecutionError, Value};

use crate::budget::Fault;
use crate::expression::Ast;

thread_local! {
    /// The functions. One for each thread, as contexts may not be shared.
    static FUNCTIONS: Context<'static> = Context::default().with_all();
}

const NAMES: [&str; 5] = ["arg0", "arg1", "arg2", "arg3", "arg4"];

/// Calls a function, or the method of `target`.
pub(crate) fn call(name: &str, target: Option<Value>, args: Vec<Value>) -> Result<Value, Fault> {
    if args.len() >= NAMES.len() {
        return Err(Fault::Overload);
    }
    FUNCTIONS.with(|functions| {
        let mut context = functions.new_inner_scope();
        let ident = |name: &str| Ast {
            id: 0,
            expr: Expr::Ident(name.to_owned()),
        };
        let (target, func_name) = match (target, name.split_once('.')) {
            (None, Some((space, name))) => (Some(Box::new(ident(space))), name),
            (None, None) => (None, name),
            (Some(value), _) => {
                context.add_variable_from_value(NAMES[4], value);
                (Some(Box::new(ident(NAMES[4]))), name)
            }
        };
        let mut idents = Vec::with_capacity(args.len());
        for (value, name) in args.into_iter().zip(NAMES) {
            context.add_variable_from_value(name, value);
            idents.push(ident(name));
        }
        let call = Ast {
            id: 0,
            expr: Expr::Call(CallExpr {
                func_name: func_name.to_owned(),
                target,
                args: idents,
            }),
        };
        context.resolve(&call).map_err(fault)
    })
}

/// The library's errors in ours. Values are never printed: they may be large.
pub(crate) fn fault(error: ExecutionError) -> Fault {
    match error {
        ExecutionError::NoSuchKey(key) => Fault::NoKey(key.to_string()),
        ExecutionError::UndeclaredReference(name) => Fault::Undeclared(name.to_string()),
        ExecutionError::FunctionError { message, .. } => Fault::Function(message),
        ExecutionError::DivisionByZero(_) => Fault::Division,
        ExecutionError::RemainderByZero(_) => Fault::Modulus,
        ExecutionError::Overflow(..) => Fault::Overflow,
        ExecutionError::IndexOutOfBounds(Value::Int(index)) => Fault::Bounds(index),
        _ => Fault::Overload,
    }
}
