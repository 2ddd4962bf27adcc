//! Expressions, rules and policies, small enough to read.

mod bombs;
mod expressions;
mod policies;
mod schemas;
