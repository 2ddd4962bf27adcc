//! What happens to a Pod on this node, case by case.

use super::super::record::Ended;
use super::*;
use host::process::{Exit, Identity};
use serde_json::json;

const IMAGE: &str = "ferrovirt.io/ferrovirt:1";

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": policy, "containers": [
            {"name": "compute", "image": IMAGE, "command": ["ferrovirt", "launcher"]},
            {"name": "guest-console-log", "image": IMAGE, "command": ["ferrovirt", "guest-console-log"]}
        ]}
    }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn deleted(mut pod: Pod, deadline: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        at(deadline),
    ));
    pod
}

fn record(main: Main) -> Record {
    Record {
        main,
        ..Record::new("ns", "p", "u", at(0))
    }
}

fn running() -> Main {
    Main::Running {
        process: Identity {
            pid: 1,
            start_time: 1,
        },
        started_at: at(0),
        adoptions: 0,
    }
}

fn ended() -> Main {
    Main::Ended(Ended {
        exit: Exit::Code(0),
        started_at: at(0),
        finished_at: at(1),
        message: None,
    })
}

struct Case<'a> {
    pod: &'a Pod,
    record: Option<&'a Record>,
    main: bool,
    group: bool,
}

fn plan(case: &Case<'_>) -> Plan {
    let facts = Facts {
        pod: case.pod,
        image: IMAGE,
        verbs: &["launcher", "importer"],
        record: case.record,
        main_lives: case.main,
        group_lives: case.group,
        missing: None,
    };
    decide(&facts, at(100))
}

fn steps(pod: &Pod, record: Option<&Record>, main: bool, group: bool) -> Vec<Step> {
    plan(&Case {
        pod,
        record,
        main,
        group,
    })
    .steps
}

#[test]
fn a_pod_of_ours_is_prepared_and_started() {
    assert_eq!(
        steps(&pod("Never"), None, false, false),
        [Step::Prepare, Step::Start]
    );
}

#[test]
fn what_an_unrecorded_start_left_is_ended_first() {
    assert_eq!(
        steps(&pod("Never"), None, false, true),
        [Step::KillStray, Step::Prepare, Step::Start]
    );
}

#[test]
fn foreign_images_verbs_and_shapes_are_refused_with_a_reason() {
    let refused = |pod: &Pod| match &steps(pod, None, false, false)[..] {
        [Step::Refuse(waiting)] => (waiting.reason, waiting.message.clone()),
        other => panic!("{other:?}"),
    };
    let mut foreign = pod("Never");
    foreign.spec.as_mut().unwrap().containers[0].image = Some("nginx".into());
    let (reason, message) = refused(&foreign);
    assert_eq!(reason, "ForeignImage");
    assert!(message.contains("nginx"));
    let mut verb = pod("Never");
    verb.spec.as_mut().unwrap().containers[0].command = Some(vec!["ferrovirt".into(), "up".into()]);
    assert!(refused(&verb).1.contains("launcher, importer"));
    let mut two = pod("Never");
    let extra = two.spec.as_ref().unwrap().containers[0].clone();
    two.spec.as_mut().unwrap().containers.push(extra);
    assert!(refused(&two).1.contains("exactly one"));
}

#[test]
fn a_missing_volume_is_waited_for_with_a_reason() {
    let waiting = Waiting {
        reason: "FailedMount",
        message: "PVC x is not bound".into(),
    };
    let pod = pod("Never");
    let facts = Facts {
        pod: &pod,
        image: IMAGE,
        verbs: &["launcher"],
        record: None,
        main_lives: false,
        group_lives: false,
        missing: Some(&waiting),
    };
    let plan = decide(&facts, at(0));
    assert_eq!(plan.steps, [Step::Wait(waiting.clone())]);
    assert!(plan.again.is_some());
}

#[test]
fn a_lost_launcher_is_started_again_to_adopt_its_guest() {
    let r = record(running());
    assert_eq!(steps(&pod("Never"), Some(&r), true, true), []);
    assert_eq!(steps(&pod("Never"), Some(&r), false, true), [Step::Adopt]);
    let tired = record(Main::Running {
        process: Identity {
            pid: 1,
            start_time: 1,
        },
        started_at: at(0),
        adoptions: ADOPTIONS,
    });
    assert_eq!(
        steps(&pod("Never"), Some(&tired), false, true),
        [Step::Kill]
    );
}

#[test]
fn an_end_is_noted_then_torn_down_once() {
    let p = pod("Never");
    assert_eq!(
        steps(&p, Some(&record(running())), false, false),
        [Step::NoteEnd]
    );
    let mut over = record(ended());
    assert_eq!(steps(&p, Some(&over), false, false), [Step::TearDown]);
    over.torn_down = true;
    assert_eq!(steps(&p, Some(&over), false, false), []);
}

#[test]
fn a_restart_waits_for_its_time() {
    let p = pod("OnFailure");
    let later = record(Main::Waiting {
        not_before: Some(at(110)),
    });
    let plan = plan(&Case {
        pod: &p,
        record: Some(&later),
        main: false,
        group: false,
    });
    assert_eq!(plan.steps, []);
    assert_eq!(plan.again, Some(SignedDuration::from_secs(10)));
    let due = record(Main::Waiting {
        not_before: Some(at(99)),
    });
    assert_eq!(steps(&p, Some(&due), false, false), [Step::Start]);
}

#[test]
fn deletion_asks_waits_and_then_forces() {
    let r = record(running());
    assert_eq!(
        steps(&deleted(pod("Never"), 130), Some(&r), true, true),
        [Step::Terminate]
    );
    let mut asked = r.clone();
    asked.terminated_at = Some(at(95));
    assert_eq!(
        steps(&deleted(pod("Never"), 130), Some(&asked), true, true),
        []
    );
    assert_eq!(
        steps(&deleted(pod("Never"), 100), Some(&asked), true, true),
        [Step::Kill]
    );
    assert_eq!(
        steps(&deleted(pod("Never"), 130), Some(&asked), false, false),
        [Step::NoteEnd, Step::TearDown, Step::Forget]
    );
    assert_eq!(
        steps(&deleted(pod("Never"), 130), None, false, false),
        [Step::Forget]
    );
}

#[test]
fn restart_policies_and_waits_are_the_kubelets() {
    assert!(!restarts(&pod("Never"), 1));
    assert!(restarts(&pod("OnFailure"), 1));
    assert!(!restarts(&pod("OnFailure"), 0));
    assert!(restarts(&pod("Always"), 0));
    let waits: Vec<i64> = (0..7).map(|n| restart_wait(n).as_secs()).collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn arguments_and_variables_that_choose_paths_or_code_are_refused() {
    let with = |container: serde_json::Value| {
        let mut pod = pod("Never");
        let mut main =
            json!({"name": "importer", "image": IMAGE, "command": ["ferrovirt", "importer"]});
        extend(&mut main, container);
        pod.spec.as_mut().unwrap().containers = vec![serde_json::from_value(main).unwrap()];
        steps(&pod, None, false, false)
    };
    let var = |name: &str, value: &str| json!({"env": [{"name": name, "value": value}]});
    let secret = json!({"env": [{"name": "IMPORTER_CERT_DIR",
        "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]});
    for refused in [
        json!({"args": ["--target=../../../volumes/other/disk.img"]}),
        json!({"command": ["ferrovirt", "importer", "--target", "x"]}),
        var("LD_PRELOAD", "../volumes/x/disk.img"),
        var("PATH", "/tmp"),
        var("FERROVIRT_TERMINATION_LOG", "../../x"),
        var("IMPORTER_TARGET", "../../../volumes/other/disk.img"),
        var("IMPORTER_CERT_DIR", "../../other"),
        secret,
    ] {
        let steps = with(refused.clone());
        assert!(
            matches!(steps[..], [Step::Refuse(_)]),
            "{refused}: {steps:?}"
        );
    }
    for accepted in [
        var("IMPORTER_ENDPOINT", "http://127.0.0.1/x"),
        var("IMPORTER_CERT_DIR", "cdi-cert-vol"),
        json!({}),
    ] {
        assert_eq!(with(accepted), [Step::Prepare, Step::Start]);
    }
}

fn extend(target: &mut serde_json::Value, fields: serde_json::Value) {
    let (Some(target), serde_json::Value::Object(fields)) = (target.as_object_mut(), fields) else {
        panic!("two objects");
    };
    target.extend(fields);
}

#[test]
fn a_start_that_was_not_recorded_is_ended_before_the_next() {
    let waiting = record(Main::Waiting { not_before: None });
    assert_eq!(
        steps(&pod("Never"), Some(&waiting), false, true),
        [Step::KillStray, Step::Start]
    );
}

#[test]
fn a_restart_waits_for_what_went_missing() {
    let gone = Waiting {
        reason: "FailedMount",
        message: "gone".to_owned(),
    };
    let waiting = record(Main::Waiting { not_before: None });
    let facts = Facts {
        pod: &pod("Always"),
        image: IMAGE,
        verbs: &["launcher"],
        record: Some(&waiting),
        main_lives: false,
        group_lives: false,
        missing: Some(&gone),
    };
    assert_eq!(decide(&facts, at(100)).steps, [Step::Wait(gone.clone())]);
}
