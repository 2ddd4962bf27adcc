//! Bounds on expressions from outside. Where Kubernetes has a figure, it is used.

/// Bytes of one expression.
pub const SOURCE: usize = 16 * 1024;
/// Nodes between the root of an expression and its deepest leaf; evaluation uses the stack.
pub const DEPTH: usize = 100;
/// Bytes of stack that whoever compiles expressions must have: the outside parser takes up to 160 KiB for a
/// bracket (without optimisation). Evaluation needs no more than others.
pub const PARSER_STACK: usize = 32 << 20;
/// Brackets and conditionals within one another; parsing uses the stack.
pub const BRACKETS: usize = 48;
/// Operators and selections that may depend on one another; the outside parser descends for each.
pub const CHAIN: usize = 150;
/// Cost that one expression may spend at run time (`PerCallLimit`).
pub const CALL_COST: u64 = 1_000_000;
/// Cost that all expressions of one object or policy may spend at run time (`RuntimeCELCostBudget`).
pub const OBJECT_COST: u64 = 10_000_000;
/// Cost of one question to the authorizer; two fit into one expression.
pub const CHECK_COST: u64 = 350_000;
/// Cost that one rule of a CRD may have by estimation (`StaticEstimatedCostLimit`).
pub const RULE_ESTIMATE: u64 = 10_000_000;
/// Cost that all rules of a CRD's schema may have by estimation (`StaticEstimatedCRDCostLimit`).
pub const SCHEMA_ESTIMATE: u64 = 100_000_000;
/// Bytes of a request, from which the sizes of unbounded lists, maps and strings are estimated.
pub const REQUEST: u64 = 3 * 1024 * 1024;
/// Bytes of the program of a regular expression.
pub const REGEX_PROGRAM: usize = 1 << 20;
/// Regular expressions kept during one evaluation.
pub const REGEX_CACHE: usize = 64;
/// Bytes of a message made by an expression.
pub const MESSAGE: usize = 5 * 1024;
/// Errors reported for one object.
pub const ERRORS: usize = 100;
/// Nesting of schemas that is walked.
pub const SCHEMA_DEPTH: usize = 64;
/// Bytes of a value that a function is asked to make.
pub const RESULT: usize = 8 << 20;
