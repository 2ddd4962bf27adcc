use super::*;
use proptest::prelude::*;
use serde_json::json;

fn parse(text: &str) -> Until {
    text.parse().unwrap()
}

#[test]
fn expressions_are_parsed() {
    assert_eq!(parse("delete"), Until::Gone { uid: None });
    assert_eq!(parse("create"), Until::Created);
    assert_eq!(
        parse("condition=Ready"),
        Until::Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned()
        }
    );
    assert_eq!(
        parse("condition=Paused=false"),
        Until::Condition {
            kind: "Paused".to_owned(),
            status: "false".to_owned()
        }
    );
    for bad in [
        "",
        "ready",
        "condition=",
        "condition==True",
        "condition=Ready=",
        "jsonpath={.a}=",
        "jsonpath={.a",
    ] {
        assert!(bad.parse::<Until>().is_err(), "{bad}");
    }
}

#[test]
fn paths_are_split_from_values() {
    assert_eq!(
        split_path("{.status.ready}=true"),
        ("{.status.ready}", Some("true"))
    );
    assert_eq!(split_path("{.a}"), ("{.a}", None));
    assert_eq!(
        split_path("{.c[?(@.type==\"a}=b\")].status}=x=y"),
        ("{.c[?(@.type==\"a}=b\")].status}", Some("x=y"))
    );
    assert_eq!(
        split_path(".status.phase=Running"),
        (".status.phase", Some("Running"))
    );
}

#[test]
fn states_are_recognized() {
    let vm = json!({
        "metadata": {"uid": "1", "generation": 2},
        "status": {"ready": true, "phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "Old", "status": "True", "observedGeneration": 1},
        ]},
    });
    let met = |text: &str| parse(text).is_met(Some(&vm));
    assert!(met("condition=ready"));
    assert!(!met("condition=Ready=False"));
    assert!(!met("condition=Old"), "of another generation");
    assert!(!met("condition=None"));
    assert!(met("jsonpath={.status.ready}=true"));
    assert!(met("jsonpath={.status.phase}"));
    assert!(!met("jsonpath={.status.absent}"));
    assert!(!met("jsonpath={.status.absent}=null"));
    assert!(met("create") && !met("delete"));
    assert!(parse("delete").is_met(None));
    let gone = |uid: &str| Until::Gone {
        uid: Some(uid.to_owned()),
    };
    assert!(gone("0").is_met(Some(&vm)), "a successor of the same name");
    assert!(!gone("1").is_met(Some(&vm)));
}

#[test]
fn reasons_come_from_status() {
    let until = parse("condition=Ready");
    assert_eq!(reason(&json!({}), &until), "no status yet");
    let vm = json!({"status": {"printableStatus": "Provisioning", "conditions": [
        {"type": "Failure", "status": "False", "reason": "x"},
        {"type": "Ready", "status": "False", "reason": "VMINotExists", "message": "VMI does not exist"},
    ]}});
    assert_eq!(
        reason(&vm, &until),
        "Provisioning, VMINotExists: VMI does not exist"
    );
    assert_eq!(
        gist("ImportInProgress 12.29%"),
        gist("ImportInProgress 48.65%")
    );
    let dv = json!({"status": {"phase": "ImportInProgress"}});
    assert_eq!(reason(&dv, &parse("delete")), "ImportInProgress");
}

proptest! {
    #[test]
    fn nothing_panics(text in "(condition|jsonpath|delete)?=?[-a-z{}.=\"\\[\\]()@?']{0,20}") {
        let _ = text.parse::<Until>();
    }
}
