//! `managedFields` beyond the recorded cases: order, times, reset, caps, client-side apply.

use super::*;

#[test]
fn a_custom_resource_has_no_structs_before_its_creation() {
    let mut server = Server::widgets();
    server.create("tool", json!({"spec": {"n": 1}}));
    assert_eq!(
        server.owned_by("tool Update"),
        json!({"f:spec": {".": {}, "f:dflt": {}, "f:n": {}}})
    );
}

#[test]
fn an_update_that_changes_nothing_keeps_all_times() {
    let mut server = Server::config_maps();
    let created = server.create("tool", json!({"data": {"k": "1"}}));
    assert_eq!(server.patch("other", |_| ()), created);
    assert_eq!(server.patch("tool", |_| ()), created);
    // Nor does a client that sends no managedFields delete them.
    let same = server.patch("other", |o| {
        o["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
    });
    assert_eq!(same, created);
}

#[test]
fn removing_a_field_takes_it_from_all_owners() {
    let mut server = Server::config_maps();
    server.apply("one", json!({"data": {"k": "1", "n": "1"}}));
    server.patch("tool", |o| {
        o["data"].as_object_mut().unwrap().remove("n");
    });
    assert_eq!(
        server.owners(),
        [("one Apply".to_owned(), json!({"f:data": {"f:k": {}}}))]
    );
}

#[test]
fn appliers_come_first_then_the_oldest() {
    let mut server = Server::config_maps();
    server.create("zz", json!({"data": {"a": "1"}}));
    server.patch("aa", |o| o["data"]["b"] = "1".into());
    server.apply("mm", json!({"data": {"c": "1"}}));
    let names: Vec<String> = server.owners().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["mm Apply", "zz Update", "aa Update"]);
}

#[test]
fn one_empty_entry_resets_and_an_apply_starts_over() {
    let mut server = Server::config_maps();
    server.create("tool", json!({"data": {"k": "1"}}));
    server.patch("tool", |o| o["metadata"]["managedFields"] = json!([{}]));
    assert!(server.owners().is_empty());
    // Untracked objects stay untracked ...
    server.patch("tool", |o| o["data"]["n"] = "1".into());
    assert!(server.owners().is_empty());
    // ... until somebody applies: then all there was has an owner, too.
    assert_eq!(
        server.conflicts("one", json!({"data": {"k": "2"}})),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    server.apply("one", json!({"data": {"k": "1"}}));
    assert_eq!(
        server.owned_by("before-first-apply Update"),
        json!({"f:data": {".": {}, "f:k": {}, "f:n": {}}})
    );
}

#[test]
fn clients_may_rewrite_the_list_except_through_subresources() {
    let mut server = Server::widgets();
    server.create("tool", json!({"spec": {"n": 1}}));
    let migrated = json!([{"manager": "new", "operation": "Apply", "apiVersion": "example.com/v1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:n": {}}}}]);
    server.patch("tool", |o| {
        o["metadata"]["managedFields"] = migrated.clone()
    });
    assert_eq!(
        server.owners(),
        [("new Apply".to_owned(), json!({"f:spec": {"f:n": {}}}))]
    );
    let mut forged = server.stored.clone().unwrap();
    forged["metadata"]["managedFields"] = json!([{}]);
    forged["status"] = json!({"phase": "x"});
    server.put("ctl", Some("status"), forged);
    assert_eq!(server.owned_by("new Apply"), json!({"f:spec": {"f:n": {}}}));
    assert_eq!(
        server.owned_by("ctl Update status"),
        json!({"f:status": {".": {}, "f:phase": {}}})
    );
    // What cannot be read counts as not sent.
    server.patch("tool", |o| {
        o["metadata"]["managedFields"] = json!([{"operation": "Nonsense"}])
    });
    assert_eq!(server.owned_by("new Apply"), json!({"f:spec": {"f:n": {}}}));
}

#[test]
fn a_main_update_never_takes_status() {
    let mut server = Server::widgets();
    server.create("tool", json!({"spec": {"n": 1}}));
    server
        .try_apply(
            "ctl",
            Some("status"),
            false,
            &json!({"status": {"phase": "A"}}),
        )
        .unwrap();
    server.patch("tool", |o| {
        o["status"]["phase"] = "B".into();
        o["spec"]["n"] = 2.into();
    });
    assert_eq!(
        server.owned_by("ctl Apply status"),
        json!({"f:status": {"f:phase": {}}})
    );
    assert_eq!(server.owned_by("tool Update")["f:status"], Value::Null);
}

#[test]
fn many_updaters_are_joined_into_one_bucket() {
    let mut server = Server::config_maps();
    server.create("tool", json!({"data": {"k": "1"}}));
    for i in 0..20 {
        server.patch(&format!("tool-{i}"), |o| {
            o["data"][format!("k{i}")] = "1".into()
        });
    }
    let owners = server.owners();
    assert_eq!(owners.len(), limits::UPDATE_MANAGERS);
    assert_eq!(owners[0].0, "ancient-changes Update");
    assert_eq!(owners.last().unwrap().0, "tool-19 Update");
    assert_eq!(
        server.conflicts("one", json!({"data": {"k3": "2"}})),
        "Apply failed with 1 conflict: conflict with \"ancient-changes\" using v1: .data.k3"
    );
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[test]
fn kubectl_may_take_over_what_it_applied_from_the_client() {
    let mut server = Server::config_maps();
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}});
    server.create(
        "kubectl-client-side-apply",
        json!({"metadata": {"annotations": {LAST_APPLIED: last.to_string()}}, "data": {"k": "1", "n": "1"}}),
    );
    // Not in the annotation: still a conflict. Other managers opt out of the take-over.
    assert_eq!(
        server.conflicts("kubectl", json!({"data": {"k": "2", "n": "2"}})),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.n"
    );
    server.conflicts("somebody", json!({"data": {"k": "2"}}));
    let object = server.apply("kubectl", json!({"data": {"k": "2"}}));
    assert_eq!(object["data"], json!({"k": "2", "n": "1"}));
    let annotation = object["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .unwrap();
    let kept: Value = serde_json::from_str(annotation).unwrap();
    assert_eq!(kept["data"], json!({"k": "2"}));
}

#[test]
fn a_changed_value_is_no_longer_what_the_client_applied() {
    let mut server = Server::config_maps();
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}});
    server.create(
        "kubectl-client-side-apply",
        json!({"metadata": {"annotations": {LAST_APPLIED: last.to_string()}}, "data": {"k": "1"}}),
    );
    server.patch("editor", |o| o["data"]["k"] = "9".into());
    assert_eq!(
        server.conflicts("kubectl", json!({"data": {"k": "2"}})),
        "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.k"
    );
}

#[test]
fn requests_with_bad_managed_fields_are_refused_by_validation() {
    let object = |list: Value| json!({"metadata": {"managedFields": list}});
    assert!(validate_managed_fields(&object(json!([{}]))).is_empty());
    assert!(validate_managed_fields(&json!({})).is_empty());
    let errors = validate_managed_fields(&object(json!([
        {"operation": "Delete", "fieldsType": "FieldsV2", "manager": "m".repeat(129)}])));
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "metadata.managedFields[0].operation: Invalid value: \"Delete\": must be `Apply` or `Update`",
            "metadata.managedFields[0].fieldsType: Invalid value: \"FieldsV2\": must be `FieldsV1`",
            "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
        ]
    );
}
