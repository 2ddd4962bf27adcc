use serde_json::{Value, json};

use super::*;

fn resources(domain: Value, accelerator: Accelerator) -> Value {
    let spec: VirtualMachineInstanceSpec =
        serde_json::from_value(json!({"domain": domain})).unwrap();
    serde_json::to_value(compute_resources(&spec, accelerator)).unwrap()
}

#[test]
fn guest_memory_and_a_tenth_of_a_cpu() {
    let domain = json!({
        "cpu": {"cores": 2, "sockets": 2}, "memory": {"guest": "1Gi"},
        "devices": {"autoattachGraphicsDevice": false},
    });
    // 1024 + 64 + 4 x 2 + 1024 / 512
    assert_eq!(
        resources(domain.clone(), Accelerator::Kvm),
        json!({"requests": {"cpu": "400m", "memory": "1098Mi"}})
    );
    assert_eq!(
        resources(domain, Accelerator::Tcg),
        json!({"requests": {"cpu": "400m", "memory": "1162Mi"}})
    );
}

#[test]
fn what_is_asked_for_counts() {
    let domain = json!({
        "memory": {"guest": "1Gi"}, "devices": {},
        "resources": {"requests": {"memory": "512Mi", "cpu": "2"}, "limits": {"memory": "1Gi", "cpu": "3"}},
    });
    assert_eq!(
        resources(domain, Accelerator::Kvm),
        json!({
            "requests": {"cpu": "2", "memory": "612Mi"},
            "limits": {"cpu": "3", "memory": "1124Mi"},
        })
    );
}

#[test]
fn absurd_amounts_do_not_overflow() {
    let domain = json!({
        "cpu": {"cores": u32::MAX, "sockets": u32::MAX, "threads": u32::MAX},
        "memory": {"guest": "9223372036854775807"}, "devices": {},
    });
    assert!(resources(domain, Accelerator::Tcg)["requests"]["memory"].is_string());
}
