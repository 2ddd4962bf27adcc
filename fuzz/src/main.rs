//! Fuzz targets of everything that takes bytes from the network.
//!
//! ```text
//!  libFuzzer ─ bytes ─► target, named by FERROVIRT_FUZZ
//!                        request   a whole request to a whole API server: paths, parameters, bodies in JSON, YAML
//!                        │         and protobuf, patches, apply, CRDs with schemas and rules, policies
//!                        selector  label and field selectors
//!                        text      quantities, JSON paths, names
//!                        schema    structural schemas, and objects against them
//!                        patch     JSON patch and merge patch on any value
//!                        fields    managed fields
//! ```
//!
//! A target fails by a panic (also one that the server would catch), by taking longer than libFuzzer's time-out, by
//! more memory than its bound, or by an answer that breaks what it promises. `cargo xtask fuzz` builds this with
//! coverage and runs every target for a while; seeds are in `fuzz/seeds/<target>`.
#![no_main]

mod pure;
mod request;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("FERROVIRT_FUZZ").unwrap_or_default();
        match name.as_str() {
            "request" => request::run,
            "selector" => pure::selector,
            "text" => pure::text,
            "schema" => pure::schema,
            "patch" => pure::patch,
            "fields" => pure::fields,
            other => panic!("FERROVIRT_FUZZ={other:?} names no target"),
        }
    })
}

fuzz_target!(|data: &[u8]| target()(data));
