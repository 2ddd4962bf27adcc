//! The recorded answers of kube-apiserver 1.36 (`apply.*` and `flow.kubectl-client-side-apply`).

use super::*;

#[test]
fn a_map_marked_atomic_has_one_owner_an_ordinary_one_is_owned_by_key() {
    let mut server = Server::widgets();
    server.apply(
        "one",
        json!({"spec": {"frozen": {"a": "1"}, "obj": {"a": "1"}}}),
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:frozen": {}, "f:obj": {"f:a": {}}}})
    );
    let object = server.apply("two", json!({"spec": {"obj": {"b": "2"}}}));
    assert_eq!(
        object["spec"],
        json!({"dflt": "d", "frozen": {"a": "1"}, "obj": {"a": "1", "b": "2"}})
    );
    let wish = json!({"spec": {"frozen": {"b": "2"}, "obj": {"b": "2"}}});
    assert_eq!(
        server.conflicts("two", wish.clone()),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.frozen"
    );
    let object = server.force("two", wish);
    assert_eq!(
        object["spec"],
        json!({"dflt": "d", "frozen": {"b": "2"}, "obj": {"a": "1", "b": "2"}})
    );
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:spec": {"f:frozen": {}, "f:obj": {"f:b": {}}}})
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:obj": {"f:a": {}}}})
    );
}

#[test]
fn fields_written_by_update_belong_to_the_writer_and_conflict() {
    let mut server = Server::config_maps();
    server.create("writer", json!({"data": {"k": "1"}}));
    assert_eq!(
        server.owned_by("writer Update"),
        json!({"f:data": {".": {}, "f:k": {}}})
    );
    assert_eq!(
        server.conflicts("one", json!({"data": {"k": "2", "n": "1"}})),
        "Apply failed with 1 conflict: conflict with \"writer\" using v1: .data.k"
    );
    server.apply("one", json!({"data": {"k": "1", "n": "1"}}));
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:data": {"f:k": {}, "f:n": {}}})
    );
    assert_eq!(
        server.owned_by("writer Update"),
        json!({"f:data": {".": {}, "f:k": {}}})
    );
    server.patch("patcher", |o| o["data"]["n"] = "2".into());
    assert_eq!(server.owned_by("one Apply"), json!({"f:data": {"f:k": {}}}));
    assert_eq!(
        server.owned_by("patcher Update"),
        json!({"f:data": {"f:n": {}}})
    );
    assert_eq!(
        server.conflicts("one", json!({"data": {"k": "1", "n": "1"}})),
        "Apply failed with 1 conflict: conflict with \"patcher\" using v1: .data.n"
    );
    server.force("one", json!({"data": {"k": "1", "n": "1"}}));
    let names: Vec<String> = server.owners().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one Apply", "writer Update"]);
}

#[test]
fn a_conflict_names_each_field_and_force_takes_it_over() {
    let mut server = Server::config_maps();
    server.apply("one", json!({"data": {"k": "1", "x": "1", "own": "1"}}));
    assert_eq!(
        server.conflicts("two", json!({"data": {"k": "2", "x": "2"}})),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.k\n- .data.x"
    );
    server.force("two", json!({"data": {"k": "2", "x": "2"}}));
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:data": {"f:own": {}}})
    );
    assert_eq!(
        server.conflicts("one", json!({"data": {"k": "1", "own": "1"}})),
        "Apply failed with 1 conflict: conflict with \"two\": .data.k"
    );
    let object = server.apply("one", json!({"data": {"own": "2"}}));
    assert_eq!(object["data"], json!({"k": "2", "own": "2", "x": "2"}));
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:data": {"f:k": {}, "f:x": {}}})
    );
}

#[test]
fn apply_creates_then_updates() {
    let mut server = Server::config_maps();
    server.apply("one", json!({"data": {"k": "v", "x": "y"}}));
    let created = server.time_of("one");
    let object = server.apply("one", json!({"data": {"k": "v2", "x": "y"}}));
    assert_eq!(object["data"], json!({"k": "v2", "x": "y"}));
    assert_eq!(
        server.owners(),
        [(
            "one Apply".to_owned(),
            json!({"f:data": {"f:k": {}, "f:x": {}}})
        )]
    );
    assert_ne!(server.time_of("one"), created);
}

#[test]
fn containers_ports_and_env_merge_by_their_keys() {
    let mut server = Server::new(
        built_in("apps", "v1", "Deployment"),
        "apps/v1",
        "Deployment",
    );
    server.apply("one", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "x:1", "ports": [{"containerPort": 80}]}]}}}}));
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:selector": {}, "f:template": {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
    );
    let object = server.apply(
        "two",
        json!({"spec": {"replicas": 4, "template": {"spec": {"containers": [
        {"name": "c", "env": [{"name": "E", "value": "1"}]}, {"name": "side", "image": "s:1"}]}}}}),
    );
    let containers = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    assert_eq!(containers[0]["name"], "c");
    assert_eq!(containers[0]["image"], "x:1");
    assert_eq!(containers[0]["env"], json!([{"name": "E", "value": "1"}]));
    assert_eq!(containers[0]["ports"][0]["containerPort"], 80);
    assert_eq!(containers[1]["name"], "side");
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
        "f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:env": {"k:{\"name\":\"E\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:name": {}},
            "k:{\"name\":\"side\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
    let mut scaled = server.stored.clone().unwrap();
    scaled["spec"]["replicas"] = 7.into();
    server.put("hpa", Some("scale"), scaled);
    assert_eq!(
        server.owned_by("hpa Update scale"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    assert_eq!(
        server.conflicts("two", json!({"spec": {"replicas": 4}})),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn an_applied_object_must_fit_its_schema() {
    let mut server = Server::widgets();
    let mut refused = |parts: Value| match server.try_apply("one", None, false, &parts) {
        Err(error @ ApplyError::Invalid(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(json!({"spec": {"n": "text"}})),
        "failed to create typed patch object: spec.n: Invalid value: expected numeric (int or float), got \"text\""
    );
    assert!(
        refused(json!({"spec": {"bogus": 1}}))
            .contains("spec.bogus: Invalid value: field not declared in schema")
    );
    assert!(
        refused(json!({"spec": {"frozen": {"x": 1}}}))
            .contains("spec.frozen.x: Invalid value: field not declared")
    );
    assert!(
        refused(json!({"spec": {"atomic": ["a", 1]}}))
            .contains("spec.atomic[1]: Invalid value: expected string, got 1")
    );
    assert!(refused(json!({"bogus": 1})).contains("field not declared in schema"));
    assert!(refused(json!({"metadata": {"bogus": 1}})).contains("metadata.bogus"));
    assert!(
        refused(json!({"metadata": {"managedFields": []}}))
            .contains("metadata.managedFields: Forbidden")
    );
}

#[test]
fn elements_of_map_lists_merge_by_key() {
    let mut server = Server::widgets();
    server.apply(
        "one",
        json!({"spec": {"map": [{"name": "x", "v": "1"}, {"name": "y", "v": "1"}]}}),
    );
    let object = server.apply(
        "two",
        json!({"spec": {"map": [{"name": "y", "w": "2"}, {"name": "z", "v": "2"}]}}),
    );
    assert_eq!(
        object["spec"]["map"],
        json!([{"name": "x", "v": "1"}, {"name": "y", "v": "1", "w": "2"}, {"name": "z", "v": "2"}])
    );
    let object = server.apply("one", json!({"spec": {"map": [{"name": "x", "v": "3"}]}}));
    assert_eq!(
        object["spec"]["map"],
        json!([{"name": "x", "v": "3"}, {"name": "y", "w": "2"}, {"name": "z", "v": "2"}])
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:map": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:v": {}}}}})
    );
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:spec": {"f:map": {
        "k:{\"name\":\"y\"}": {".": {}, "f:name": {}, "f:w": {}},
        "k:{\"name\":\"z\"}": {".": {}, "f:name": {}, "f:v": {}}}}})
    );
    assert_eq!(
        server.conflicts("two", json!({"spec": {"map": [{"name": "x", "v": "9"}]}})),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.map[name=\"x\"].v"
    );
}

#[test]
fn labels_annotations_and_finalizers_can_be_applied_and_dropped() {
    let mut server = Server::config_maps();
    server.apply(
        "one",
        json!({"metadata": {"labels": {"l1": "1", "l2": "2"}, "annotations": {"n": "x"},
        "finalizers": ["example.com/f"]}, "data": {"k": "v"}}),
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:data": {"f:k": {}}, "f:metadata": {
        "f:annotations": {"f:n": {}}, "f:finalizers": {"v:\"example.com/f\"": {}}, "f:labels": {"f:l1": {}, "f:l2": {}}}})
    );
    let object = server.apply(
        "two",
        json!({"metadata": {"labels": {"l3": "3"}, "finalizers": ["example.com/g"]}}),
    );
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["example.com/f", "example.com/g"])
    );
    let object = server.apply(
        "one",
        json!({"metadata": {"labels": {"l1": "1"}}, "data": {"k": "v"}}),
    );
    assert_eq!(object["metadata"]["labels"], json!({"l1": "1", "l3": "3"}));
    assert_eq!(object["metadata"]["finalizers"], json!(["example.com/g"]));
    assert_eq!(object["metadata"].get("annotations"), None);
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:data": {"f:k": {}}, "f:metadata": {"f:labels": {"f:l1": {}}}})
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut server = Server::config_maps();
    let first = server.apply("one", json!({"data": {"k": "v"}}));
    assert_eq!(server.apply("one", json!({"data": {"k": "v"}})), first);
}

#[test]
fn a_field_its_only_owner_leaves_out_is_removed_and_defaulted_again() {
    let mut server = Server::widgets();
    server.apply(
        "one",
        json!({"spec": {"n": 5, "dflt": "mine", "obj": {"a": "1", "b": "2"}}}),
    );
    let object = server.apply("one", json!({"spec": {"n": 5, "obj": {"a": "1"}}}));
    assert_eq!(
        object["spec"],
        json!({"dflt": "d", "n": 5, "obj": {"a": "1"}})
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:n": {}, "f:obj": {"f:a": {}}}})
    );
    let object = server.apply("one", json!({"spec": {}}));
    assert_eq!(object["spec"], json!({"dflt": "d"}));
    assert_eq!(server.owned_by("one Apply"), json!({"f:spec": {}}));
}

#[test]
fn set_lists_merge_by_value_and_other_lists_are_replaced() {
    let mut server = Server::widgets();
    server.apply(
        "one",
        json!({"spec": {"set": ["a", "b"], "atomic": ["1"], "plain": ["p"]}}),
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:atomic": {}, "f:plain": {}, "f:set": {"v:\"a\"": {}, "v:\"b\"": {}}}})
    );
    let object = server.apply("two", json!({"spec": {"set": ["b", "c"]}}));
    assert_eq!(object["spec"]["set"], json!(["a", "b", "c"]));
    let object = server.apply(
        "one",
        json!({"spec": {"set": ["a"], "atomic": ["1", "2"], "plain": ["q"]}}),
    );
    assert_eq!(
        object["spec"],
        json!({"atomic": ["1", "2"], "dflt": "d", "plain": ["q"], "set": ["a", "b", "c"]})
    );
    assert_eq!(
        server.conflicts("two", json!({"spec": {"atomic": ["3"]}})),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.atomic"
    );
    let object = server.force("two", json!({"spec": {"atomic": ["3"]}}));
    assert_eq!(
        object["spec"],
        json!({"atomic": ["3"], "dflt": "d", "plain": ["q"], "set": ["a"]})
    );
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:spec": {"f:atomic": {}}})
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:plain": {}, "f:set": {"v:\"a\"": {}}}})
    );
}

#[test]
fn a_shared_field_goes_with_its_last_owner() {
    let mut server = Server::config_maps();
    server.apply("one", json!({"data": {"k": "same", "one": "1"}}));
    server.apply("two", json!({"data": {"k": "same", "two": "2"}}));
    let object = server.apply("one", json!({"data": {"one": "1"}}));
    assert_eq!(object["data"], json!({"k": "same", "one": "1", "two": "2"}));
    let object = server.apply("two", json!({"data": {"two": "2"}}));
    assert_eq!(object["data"], json!({"one": "1", "two": "2"}));
    let object = server.apply("one", json!({"data": {}}));
    assert_eq!(object["data"], json!({"two": "2"}));
    assert_eq!(server.owned_by("one Apply"), json!({"f:data": {}}));
    assert_eq!(
        server.owned_by("two Apply"),
        json!({"f:data": {"f:two": {}}})
    );
}

#[test]
fn apply_through_status_owns_status_only() {
    let mut server = Server::widgets();
    let object = server.apply(
        "one",
        json!({"spec": {"n": 1}, "status": {"phase": "ignored"}}),
    );
    assert_eq!(object.get("status"), None);
    assert_eq!(server.owned_by("one Apply"), json!({"f:spec": {"f:n": {}}}));
    let condition = |ty: &str| json!([{"type": ty, "status": "True"}]);
    let status = json!({"status": {"phase": "Ready", "conds": condition("A")}});
    server
        .try_apply("ctl", Some("status"), false, &status)
        .unwrap();
    assert_eq!(
        server.owned_by("ctl Apply status"),
        json!({"f:status": {
        "f:conds": {"k:{\"type\":\"A\"}": {".": {}, "f:status": {}, "f:type": {}}}, "f:phase": {}}})
    );
    let status = json!({"status": {"conds": condition("B")}});
    let object = server
        .try_apply("ctl2", Some("status"), false, &status)
        .unwrap();
    let conditions = json!([{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]);
    assert_eq!(
        object["status"],
        json!({"conds": conditions, "phase": "Ready"})
    );
    let object = server.apply("one", json!({"spec": {"n": 2}}));
    assert_eq!(object["status"]["conds"], conditions);
    assert_eq!(object["spec"], json!({"n": 2, "dflt": "d"}));
}

#[test]
fn updates_are_tracked_by_manager() {
    let mut server = Server::config_maps();
    server.create(
        "mytool",
        json!({"metadata": {"labels": {"l": "1"}}, "data": {"k": "1"}}),
    );
    assert_eq!(
        server.owned_by("mytool Update"),
        json!({
        "f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}})
    );
    server.patch("other", |o| o["data"]["k"] = "2".into());
    assert_eq!(
        server.owned_by("other Update"),
        json!({"f:data": {"f:k": {}}})
    );
    assert_eq!(
        server.owned_by("mytool Update"),
        json!({"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}})
    );
    server.patch("mytool", |o| {
        o["metadata"]["annotations"] = json!({"x": "y"})
    });
    assert_eq!(
        server.owned_by("mytool Update"),
        json!({"f:data": {}, "f:metadata": {
        "f:annotations": {".": {}, "f:x": {}}, "f:labels": {".": {}, "f:l": {}}}})
    );
}

#[test]
fn creating_a_deployment_owns_its_fields_but_not_its_structs() {
    let mut server = Server::new(
        built_in("apps", "v1", "Deployment"),
        "apps/v1",
        "Deployment",
    );
    server.create("kubectl-client-side-apply", json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {"progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30}}}}));
    assert_eq!(
        server.owned_by("kubectl-client-side-apply Update"),
        json!({
        "f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}},
        "f:spec": {"f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                    "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
                "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                "f:terminationGracePeriodSeconds": {}}}}})
    );
}
