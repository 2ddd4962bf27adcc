//! Expressions, rules and policies, small enough to read.

mod bombs;
mod expressions;
mod lists;
mod policies;
mod schemas;
