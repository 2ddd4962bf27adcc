//! The default roles of KubeVirt and CDI (kubevirt-surface section 6).

use serde_json::Value;

use super::workloads::{TO_ADMIN, TO_EDIT, TO_VIEW};
use super::{ALL, READ, bind, cluster_role, group};
use crate::rule::PolicyRule;

const SUBRESOURCES: &str = "subresources.kubevirt.io";
const EDIT: &[&str] = &[
    "get", "delete", "create", "update", "patch", "list", "watch",
];
const ADMIN: &[&str] = &[
    "get",
    "delete",
    "create",
    "update",
    "patch",
    "list",
    "watch",
    "deletecollection",
];

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> PolicyRule {
    PolicyRule::resources(verbs, &[group], resources)
}

pub(super) fn objects() -> Vec<Value> {
    let mut objects = vec![
        cluster_role(
            "kubevirt.io:default",
            &[],
            &[
                rule(&["get", "list"], "kubevirt.io", &["kubevirts"]),
                rule(&["get", "list"], SUBRESOURCES, &["version", "guestfs"]),
            ],
        ),
        bind("kubevirt.io:default", vec![group("system:authenticated")]),
        cluster_role("kubevirt.io:admin", &[TO_ADMIN], &admin()),
        cluster_role("kubevirt.io:edit", &[TO_EDIT], &edit()),
        cluster_role("kubevirt.io:view", &[TO_VIEW], &view()),
        cluster_role(
            "instancetype.kubevirt.io:view",
            &[],
            &[rule(
                READ,
                "instancetype.kubevirt.io",
                &[
                    "virtualmachineclusterinstancetypes",
                    "virtualmachineclusterpreferences",
                ],
            )],
        ),
        bind(
            "instancetype.kubevirt.io:view",
            vec![group("system:authenticated")],
        ),
        cluster_role(
            "kubevirt.io:migrate",
            &[],
            &[
                rule(&["update"], SUBRESOURCES, &["virtualmachines/migrate"]),
                rule(ADMIN, "kubevirt.io", &["virtualmachineinstancemigrations"]),
            ],
        ),
    ];
    objects.extend(cdi());
    objects
}

/// The rules that `kubevirt.io:admin` and `kubevirt.io:edit` share, `subresources.kubevirt.io` aside from VNC
/// screenshots.
fn operate() -> Vec<PolicyRule> {
    vec![
        rule(
            &["get"],
            SUBRESOURCES,
            &[
                "virtualmachineinstances/console",
                "virtualmachineinstances/vnc",
                "virtualmachineinstances/portforward",
                "virtualmachineinstances/guestosinfo",
                "virtualmachineinstances/filesystemlist",
                "virtualmachineinstances/userlist",
                "virtualmachineinstances/sev/fetchcertchain",
                "virtualmachineinstances/sev/querylaunchmeasurement",
                "virtualmachineinstances/usbredir",
                "virtualmachines/objectgraph",
                "virtualmachineinstances/objectgraph",
            ],
        ),
        rule(
            &["update"],
            SUBRESOURCES,
            &[
                "virtualmachineinstances/pause",
                "virtualmachineinstances/unpause",
                "virtualmachineinstances/addvolume",
                "virtualmachineinstances/removevolume",
                "virtualmachineinstances/freeze",
                "virtualmachineinstances/unfreeze",
                "virtualmachineinstances/softreboot",
                "virtualmachineinstances/reset",
                "virtualmachineinstances/sev/setupsession",
                "virtualmachineinstances/sev/injectlaunchsecret",
                "virtualmachineinstances/evacuate/cancel",
            ],
        ),
        rule(
            &["get"],
            SUBRESOURCES,
            &["virtualmachines/expand-spec", "virtualmachines/portforward"],
        ),
        rule(
            &["update"],
            SUBRESOURCES,
            &[
                "virtualmachines/start",
                "virtualmachines/stop",
                "virtualmachines/restart",
                "virtualmachines/addvolume",
                "virtualmachines/removevolume",
                "virtualmachines/memorydump",
                "virtualmachines/removememorydump",
                "virtualmachines/evacuate/cancel",
            ],
        ),
        rule(&["update"], SUBRESOURCES, &["expand-vm-spec"]),
        rule(READ, "kubevirt.io", &["virtualmachineinstancemigrations"]),
        rule(READ, "migrations.kubevirt.io", &["migrationpolicies"]),
    ]
}

/// The objects that users of VMs own, under `verbs`.
fn objects_of_users(verbs: &[&str]) -> Vec<PolicyRule> {
    vec![
        rule(
            verbs,
            "kubevirt.io",
            &[
                "virtualmachines",
                "virtualmachineinstances",
                "virtualmachineinstancepresets",
                "virtualmachineinstancereplicasets",
            ],
        ),
        rule(
            verbs,
            "snapshot.kubevirt.io",
            &[
                "virtualmachinesnapshots",
                "virtualmachinesnapshotcontents",
                "virtualmachinerestores",
            ],
        ),
        rule(
            verbs,
            "backup.kubevirt.io",
            &["virtualmachinebackups", "virtualmachinebackuptrackers"],
        ),
        rule(verbs, "export.kubevirt.io", &["virtualmachineexports"]),
        rule(verbs, "clone.kubevirt.io", &["virtualmachineclones"]),
        rule(
            verbs,
            "instancetype.kubevirt.io",
            &[
                "virtualmachineinstancetypes",
                "virtualmachineclusterinstancetypes",
                "virtualmachinepreferences",
                "virtualmachineclusterpreferences",
            ],
        ),
        rule(verbs, "pool.kubevirt.io", &["virtualmachinepools"]),
    ]
}

fn admin() -> Vec<PolicyRule> {
    let mut rules = operate();
    rules.push(rule(
        &["get"],
        SUBRESOURCES,
        &["virtualmachineinstances/vnc/screenshot"],
    ));
    rules.extend(objects_of_users(ADMIN));
    rules.push(rule(ADMIN, "plugin.kubevirt.io", &["plugins"]));
    rules
}

fn edit() -> Vec<PolicyRule> {
    let mut rules = operate();
    rules.extend(objects_of_users(EDIT));
    rules.push(rule(&["get", "list"], "kubevirt.io", &["kubevirts"]));
    rules
}

fn view() -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(&["get", "list"], "kubevirt.io", &["kubevirts"]),
        rule(
            &["get"],
            SUBRESOURCES,
            &[
                "virtualmachines/expand-spec",
                "virtualmachineinstances/guestosinfo",
                "virtualmachineinstances/filesystemlist",
                "virtualmachineinstances/userlist",
                "virtualmachineinstances/sev/fetchcertchain",
                "virtualmachineinstances/sev/querylaunchmeasurement",
                "virtualmachines/objectgraph",
                "virtualmachineinstances/objectgraph",
            ],
        ),
        rule(&["update"], SUBRESOURCES, &["expand-vm-spec"]),
        rule(READ, "kubevirt.io", &["virtualmachineinstancemigrations"]),
    ];
    rules.extend(objects_of_users(READ));
    rules.push(rule(READ, "migrations.kubevirt.io", &["migrationpolicies"]));
    rules.push(rule(READ, "plugin.kubevirt.io", &["plugins"]));
    rules
}

fn cdi() -> Vec<Value> {
    const CDI: &str = "cdi.kubevirt.io";
    const FORKLIFT: &str = "forklift.cdi.kubevirt.io";
    let populators = &["ovirtvolumepopulators", "openstackvolumepopulators"];
    let write = [
        rule(
            ALL,
            CDI,
            &[
                "datavolumes",
                "dataimportcrons",
                "datasources",
                "volumeimportsources",
                "volumeuploadsources",
                "volumeclonesources",
            ],
        ),
        rule(&["create"], CDI, &["datavolumes/source"]),
        rule(ALL, "upload.cdi.kubevirt.io", &["uploadtokenrequests"]),
        rule(ALL, FORKLIFT, populators),
    ];
    vec![
        cluster_role("cdi.kubevirt.io:admin", &[TO_ADMIN], &write),
        cluster_role("cdi.kubevirt.io:edit", &[TO_EDIT], &write),
        cluster_role(
            "cdi.kubevirt.io:view",
            &[TO_VIEW],
            &[
                rule(
                    READ,
                    CDI,
                    &[
                        "cdiconfigs",
                        "dataimportcrons",
                        "datasources",
                        "datavolumes",
                        "objecttransfers",
                        "storageprofiles",
                        "volumeimportsources",
                        "volumeuploadsources",
                        "volumeclonesources",
                    ],
                ),
                rule(READ, FORKLIFT, populators),
            ],
        ),
        cluster_role(
            "cdi.kubevirt.io:clone-sourcer",
            &[],
            &[rule(&["create"], CDI, &["datavolumes/source"])],
        ),
        cluster_role(
            "cdi.kubevirt.io:config-reader",
            &[],
            &[rule(READ, CDI, &["cdiconfigs", "storageprofiles"])],
        ),
        bind(
            "cdi.kubevirt.io:config-reader",
            vec![
                group("system:authenticated"),
                group("system:serviceaccount"),
            ],
        ),
        cluster_role(
            "cdi-metrics-reader",
            &[],
            &[PolicyRule::urls(&["get"], &["/metrics"])],
        ),
        cluster_role(
            "cdi-pprof-reader",
            &[],
            &[PolicyRule::urls(
                &["get"],
                &["/debug/pprof", "/debug/pprof/*"],
            )],
        ),
    ]
}
