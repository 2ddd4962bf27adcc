use super::*;

fn resource(group: &str, version: &str, plural: &str, kind: &str, short: &[&str]) -> Resource {
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: short.iter().map(|s| (*s).to_owned()).collect(),
        kind: kind.to_owned(),
        namespaced: kind != "VMRuntime",
    }
}

fn catalog() -> Catalog {
    Catalog {
        resources: vec![
            resource("", "v1", "pods", "Pod", &["po"]),
            resource("", "v1", "events", "Event", &["ev"]),
            resource("events.k8s.io", "v1", "events", "Event", &["ev"]),
            resource(
                "kubevirt.io",
                "v1",
                "virtualmachines",
                "VirtualMachine",
                &["vm", "vms"],
            ),
            resource("vm.cluster.gke.io", "v1", "vmruntimes", "VMRuntime", &[]),
        ],
    }
}

#[test]
fn types_are_found_by_every_name() {
    let catalog = catalog();
    let of = |text: &str| catalog.by_type(text).map(Resource::plural_name).ok();
    let vms = Some("virtualmachines.kubevirt.io".to_owned());
    for text in [
        "vm",
        "vms",
        "virtualmachine",
        "VirtualMachine",
        "virtualmachines.kubevirt.io",
        "virtualmachines.v1.kubevirt.io",
        "vm.kubevirt.io",
    ] {
        assert_eq!(of(text), vms, "{text}");
    }
    assert_eq!(of("ev"), Some("events".to_owned()));
    assert_eq!(
        of("events.events.k8s.io"),
        Some("events.events.k8s.io".to_owned())
    );
    assert_eq!(of("pods.v1"), Some("pods".to_owned()));
    let error = catalog.by_type("virtualbox").unwrap_err().render();
    assert!(error.contains("did you mean virtualmachines?"), "{error}");
}

#[test]
fn paths_are_built() {
    let catalog = catalog();
    let vm = catalog.by_type("vm").unwrap();
    assert_eq!(
        vm.object("default", "vm1"),
        "/apis/kubevirt.io/v1/namespaces/default/virtualmachines/vm1"
    );
    assert_eq!(vm.collection(None), "/apis/kubevirt.io/v1/virtualmachines");
    assert_eq!(
        catalog
            .by_type("vmruntime")
            .unwrap()
            .object("x", "vmruntime"),
        "/apis/vm.cluster.gke.io/v1/vmruntimes/vmruntime"
    );
    assert_eq!(
        catalog.by_type("po").unwrap().object("default", "../a?b"),
        "/api/v1/namespaces/default/pods/..%2Fa%3Fb"
    );
    assert_eq!(
        with_query("/x", &[("a", "b=c"), ("d", "1")]),
        "/x?a=b%3Dc&d=1"
    );
    assert_eq!(vm.singular_name(), "virtualmachine.kubevirt.io");
}

#[test]
fn arguments_are_types_and_names() {
    let of = |arguments: &[&str]| {
        let owned: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        targets(&owned).map(|all| {
            all.into_iter()
                .map(|(k, n)| format!("{k}:{}", n.unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(of(&["vm"]).unwrap(), "vm:");
    assert_eq!(of(&["vm,dv"]).unwrap(), "vm: dv:");
    assert_eq!(of(&["vm", "a", "b"]).unwrap(), "vm:a vm:b");
    assert_eq!(of(&["vm/a", "pod/b"]).unwrap(), "vm:a pod:b");
    for bad in [&["vm/a", "b"][..], &["vm", "pod/b"], &["vm/"], &[","]] {
        assert_eq!(of(bad).unwrap_err().exit_code(), 2, "{bad:?}");
    }
}
