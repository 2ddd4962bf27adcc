//! The rules, broken one by one.

use std::collections::BTreeSet;

use super::check::{Package, Use, faults};
use super::purity::impurities;
use super::rules::{Layer, OUTSIDE, PLACES};

fn package(name: &str, own: &[&str], outside: &[&str]) -> Package {
    let uses = |names: &[&str]| {
        let shipped = |name: &&str| Use {
            name: (*name).to_owned(),
            shipped: true,
        };
        names.iter().map(shipped).collect()
    };
    Package {
        name: name.to_owned(),
        own: uses(own),
        outside: uses(outside),
    }
}

fn judged(name: &str, own: &[&str], outside: &[&str]) -> Vec<String> {
    faults(&[package(name, own, outside)])
}

#[test]
fn what_keeps_to_the_layers_is_silent() {
    assert_eq!(
        judged("machine", &["apimachinery", "api"], &["serde"]),
        [""; 0]
    );
    assert_eq!(judged("store", &[], &["tokio", "redb"]), [""; 0]);
    assert_eq!(
        judged("controllers", &["machine", "reconcile"], &["kube"]),
        [""; 0]
    );
    assert_eq!(
        judged("app", &["apiserver", "controllers", "store"], &["anyhow"]),
        [""; 0]
    );
}

#[test]
fn pure_crates_depend_in_one_direction() {
    assert!(judged("schema", &["api"], &[])[0].contains("in one direction"));
    assert!(judged("api", &["machine"], &[])[0].contains("in one direction"));
    assert!(judged("machine", &["host"], &[])[0].contains("do no I/O"));
}

#[test]
fn pure_crates_have_no_runtime_even_in_tests() {
    let mut package = package("authz", &[], &["tokio"]);
    package.outside[0].shipped = false;
    assert!(faults(&[package])[0].contains("no runtime"));
}

#[test]
fn mechanisms_know_nothing_of_ours() {
    assert!(judged("qemu", &["disk"], &[])[0].contains("nothing of ours"));
    assert!(judged("store", &["api"], &[])[0].contains("nothing of ours"));
}

#[test]
fn the_two_sides_do_not_name_one_another() {
    let said = &judged("apiserver", &["controllers"], &[])[0];
    assert!(said.contains("enters as a strategy"), "{said}");
    let said = &judged("controllers", &["store"], &[])[0];
    assert!(said.contains("only through a kube::Client"), "{said}");
    let said = &judged("launcher", &[], &["kube"])[0];
    assert!(said.contains("service layer"), "{said}");
}

#[test]
fn a_risky_crate_is_imported_where_it_belongs() {
    let said = &judged("engine", &[], &["redb"])[0];
    assert!(
        said.contains("only store may: the database is behind"),
        "{said}"
    );
    assert!(judged("node", &[], &["anyhow"])[0].contains("typed errors"));
}

#[test]
fn tests_may_use_real_servers() {
    let mut importer = package("importer", &[], &["tokio-rustls"]);
    assert_eq!(faults(std::slice::from_ref(&importer)).len(), 1);
    importer.outside[0].shipped = false;
    assert_eq!(faults(&[importer]), [""; 0]);
    assert_eq!(judged("testkit", &[], &["hyper"]), [""; 0]);
}

#[test]
fn a_crate_without_a_place_is_a_fault() {
    assert!(judged("helpers", &[], &[])[0].contains("in no layer"));
}

#[test]
fn the_rules_do_not_contradict_themselves() {
    let names: BTreeSet<&str> = PLACES.iter().map(|p| p.name).collect();
    assert_eq!(names.len(), PLACES.len(), "a crate has one place");
    for place in PLACES {
        if let Layer::Service { of } = place.layer {
            for used in of {
                let to = PLACES.iter().find(|p| p.name == *used).expect(used);
                assert_ne!(to.layer, Layer::Edge, "{} uses {used}", place.name);
            }
        }
    }
    for outside in OUTSIDE {
        assert!(!outside.only.is_empty() && !outside.why.is_empty());
        for user in outside.only {
            assert!(names.contains(user), "{} names {user}", outside.name);
        }
    }
}

#[test]
fn a_clock_in_a_pure_crate_is_found_and_one_in_a_comment_is_not() {
    let text = "// Instant::now\nlet a = Timestamp::now();\nmod tests {\nstd::fs::read(x);\n";
    let found = impurities(text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, 2);
    assert!(found[0].1.contains("the caller passes the time"));
}
