"""The Python client against a server: what an operator or a script in Python does.

Every step asserts what it has got; the script ends with `passed` and exit code 0, or with a traceback.
"""

import base64
import json
import sys
import threading
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

BOUND = 60  # seconds that any single wait may take
NAMESPACE = "python-flows"


def refused(code, reason, call):
    """The call fails with this code and reason; returns the Status."""
    try:
        call()
    except ApiException as error:
        assert error.status == code, error
        status = json.loads(error.body)
        assert (status["kind"], status["reason"], status["code"]) == ("Status", reason, code), status
        return status
    raise AssertionError(f"not refused with {code} {reason}")


def eventually(what, condition):
    """Waits for a condition, with a bound; a condition that raises is not met yet."""
    deadline = time.monotonic() + BOUND
    while True:
        try:
            found = condition()
            if found:
                return found
        except ApiException as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"waiting for {what}") from error
        assert time.monotonic() < deadline, f"waiting for {what}"
        threading.Event().wait(0.05)


def namespaces(core):
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    status = refused(409, "AlreadyExists", lambda: core.create_namespace({"metadata": {"name": NAMESPACE}}))
    assert status["details"]["name"] == NAMESPACE, status


def typed_objects(core):
    made = core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings", labels={"app": "a"}), data={"k": "1"})
    )
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    merged = core.patch_namespaced_config_map("settings", NAMESPACE, {"data": {"k": "2", "l": "3"}})
    assert merged.data == {"k": "2", "l": "3"}
    patched = core.patch_namespaced_config_map(
        "settings", NAMESPACE, [{"op": "remove", "path": "/data/l"}]
    )
    assert patched.data == {"k": "2"}, patched.data
    stale = made
    stale.data = {"k": "stale"}
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("settings", NAMESPACE, stale))
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("nothing", NAMESPACE))
    refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "Not_A_Name"}}))
    core.create_namespaced_secret(
        NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"password": "geheim"})
    )
    read = core.read_namespaced_secret("s", NAMESPACE)
    assert base64.b64decode(read.data["password"]) == b"geheim" and read.type == "Opaque"
    dry = core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "dry"}}, dry_run="All")
    assert dry.metadata.name == "dry"
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("dry", NAMESPACE))


def pages(core):
    for number in range(25):
        core.create_namespaced_config_map(
            NAMESPACE, {"metadata": {"name": f"page-{number:02}", "labels": {"page": "yes"}}}
        )
    names, token, rounds = [], None, 0
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="page=yes", limit=10, _continue=token)
        names += [item.metadata.name for item in page.items]
        rounds += 1
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number:02}" for number in range(25)] and rounds == 3, (names, rounds)
    only = core.list_config_map_for_all_namespaces(field_selector="metadata.name=page-07")
    assert [item.metadata.name for item in only.items] == ["page-07"]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page=yes")
    assert core.list_namespaced_config_map(NAMESPACE, label_selector="page=yes").items == []


def watches(core):
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "seen"}, "data": {"n": "0"}})
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"n": "1"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    events = []
    stream = watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=BOUND
    ):
        events.append((event["type"], event["object"].metadata.name, (event["object"].data or {}).get("n")))
        if event["type"] == "DELETED":
            stream.stop()
    assert events == [("ADDED", "seen", "0"), ("MODIFIED", "seen", "1"), ("DELETED", "seen", "1")], events
    # From where it was: nothing is seen twice.
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "later"}})
    for event in stream.stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        resource_version=stream.resource_version,
        timeout_seconds=BOUND,
    ):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "later"), event
        stream.stop()


def custom_resources(api):
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(
        {
            "metadata": {"name": "crontabs.python.example.com"},
            "spec": {
                "group": "python.example.com",
                "scope": "Namespaced",
                "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"]},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {
                                    "spec": {
                                        "type": "object",
                                        "properties": {
                                            "schedule": {"type": "string"},
                                            "replicas": {"type": "integer", "minimum": 1, "default": 1},
                                        },
                                        "required": ["schedule"],
                                    },
                                    "status": {
                                        "type": "object",
                                        "properties": {"phase": {"type": "string"}},
                                    },
                                },
                            }
                        },
                    }
                ],
            },
        }
    )

    def established():
        crd = extensions.read_custom_resource_definition("crontabs.python.example.com")
        return any(c.type == "Established" and c.status == "True" for c in crd.status.conditions or [])

    eventually("the kind", established)
    objects = client.CustomObjectsApi(api)
    where = ("python.example.com", "v1", NAMESPACE, "crontabs")
    body = {"apiVersion": "python.example.com/v1", "kind": "CronTab", "metadata": {"name": "c"}}
    refused(422, "Invalid", lambda: objects.create_namespaced_custom_object(*where, {**body, "spec": {}}))
    made = objects.create_namespaced_custom_object(
        *where, {**body, "spec": {"schedule": "* * * * *", "unknown": 1}}
    )
    assert made["spec"] == {"schedule": "* * * * *", "replicas": 1}, made
    status = objects.patch_namespaced_custom_object_status(*where, "c", {"status": {"phase": "Ready"}})
    assert status["status"] == {"phase": "Ready"} and status["metadata"]["generation"] == 1, status


def dynamic_client(api):
    dynamic_api = dynamic.DynamicClient(api)
    crontabs = dynamic_api.resources.get(api_version="python.example.com/v1", kind="CronTab")
    assert crontabs.get(name="c", namespace=NAMESPACE).spec.replicas == 1
    applied = crontabs.server_side_apply(
        namespace=NAMESPACE,
        name="c",
        body={
            "apiVersion": "python.example.com/v1",
            "kind": "CronTab",
            "metadata": {"name": "c"},
            "spec": {"schedule": "* * * * *", "replicas": 5},
        },
        field_manager="python",
        force_conflicts=True,
    )
    assert applied.spec.replicas == 5
    managers = {entry.manager for entry in applied.metadata.managedFields}
    assert "python" in managers, managers


def identities(core, api):
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    token = core.create_namespaced_service_account_token(
        "robot", NAMESPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    ).status.token
    mine = client.Configuration.get_default_copy()
    mine.cert_file, mine.key_file = None, None
    mine.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(mine)
    myself = client.AuthenticationV1Api(robot).create_self_subject_review({}).status.user_info
    assert myself.username == f"system:serviceaccount:{NAMESPACE}:robot", myself
    robot_core = client.CoreV1Api(robot)
    refused(403, "Forbidden", lambda: robot_core.list_namespaced_config_map(NAMESPACE))
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role(
        NAMESPACE,
        {"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]},
    )
    rbac.create_namespaced_role_binding(
        NAMESPACE,
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NAMESPACE}],
        },
    )
    eventually("the right", lambda: robot_core.list_namespaced_config_map(NAMESPACE))
    review = client.AuthorizationV1Api(api).create_subject_access_review(
        {
            "spec": {
                "user": myself.username,
                "resourceAttributes": {"namespace": NAMESPACE, "verb": "delete", "resource": "configmaps"},
            }
        }
    )
    assert review.status.allowed is False


def leases(api):
    coordination = client.CoordinationV1Api(api)
    coordination.create_namespaced_lease(
        NAMESPACE,
        {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}},
    )
    first = coordination.read_namespaced_lease("leader", NAMESPACE)
    second = coordination.read_namespaced_lease("leader", NAMESPACE)
    first.spec.holder_identity, second.spec.holder_identity = "b", "c"
    coordination.replace_namespaced_lease("leader", NAMESPACE, first)
    refused(409, "Conflict", lambda: coordination.replace_namespaced_lease("leader", NAMESPACE, second))


def the_end(core, api):
    client.ApiextensionsV1Api(api).delete_custom_resource_definition("crontabs.python.example.com")
    core.delete_namespace(NAMESPACE)

    def gone():
        try:
            core.read_namespace(NAMESPACE)
        except ApiException as error:
            return error.status == 404
        return False

    eventually("the namespace's end", gone)


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    assert client.VersionApi(api).get_code().major == "1"
    namespaces(core)
    typed_objects(core)
    pages(core)
    watches(core)
    custom_resources(api)
    dynamic_client(api)
    identities(core, api)
    leases(api)
    the_end(core, api)
    print("passed")


if __name__ == "__main__":
    sys.exit(main())
