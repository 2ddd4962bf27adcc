//! What the sources of volumes must say, where Pods and PersistentVolumes share a rule.

use apimachinery::name;

use super::spot::{Faults, Spot};

/// Fields that a source must have. The legacy ones are kept for manifests that still name them.
const REQUIRED: [(&str, &[&str]); 19] = [
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("rbd", &["image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
    ("iscsi", &["targetPortal", "iqn"]),
];

/// Where faults of a source are told: of one of them, not at its field.
pub(super) fn path_of(kind: &str) -> &str {
    match kind {
        "gcePersistentDisk" => "persistentDisk",
        other => other,
    }
}

/// Sources that Pods and PersistentVolumes judge alike; `kind` is the field of the source.
pub(super) fn common(source: &Spot<'_>, kind: &str, faults: &mut Faults) {
    if let Some((_, fields)) = REQUIRED.iter().find(|(name, _)| *name == kind) {
        faults.demanded(source, fields);
    }
    match kind {
        "hostPath" => host_path(source, faults),
        "local" => {
            path(source, faults);
        }
        "nfs" => {
            let given = source.text("path");
            if !given.starts_with('/') {
                faults.invalid(&source.at("path"), given, "must be an absolute path");
            }
        }
        "rbd" | "cephfs" if source.count("monitors") == 0 => {
            faults.required(&source.at("monitors"), "");
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            if let Some(given) = source.int("partition").filter(|n| !(0..=255).contains(n)) {
                let detail = "must be between 1 and 255, inclusive";
                faults.invalid(&source.at("partition"), given, detail);
            }
        }
        "iscsi" => iscsi(source, faults),
        "fc" => fibre_channel(source, faults),
        "gitRepo" => faults.descending(&source.at("directory"), source.text("directory")),
        _ => {}
    }
}

fn path(source: &Spot<'_>, faults: &mut Faults) -> bool {
    let given = source.text("path");
    if given.is_empty() {
        faults.required(&source.at("path"), "");
        return false;
    }
    faults.no_backsteps(&source.at("path"), given);
    true
}

fn host_path(source: &Spot<'_>, faults: &mut Faults) {
    const TYPES: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if path(source, faults) {
        faults.choice_if_given(source, "type", &TYPES);
    }
}

fn lun(source: &Spot<'_>, faults: &mut Faults) {
    if let Some(given) = source.int("lun").filter(|n| !(0..=255).contains(n)) {
        let detail = "must be between 0 and 255, inclusive";
        faults.invalid(&source.at("lun"), given, detail);
    }
}

fn iscsi(source: &Spot<'_>, faults: &mut Faults) {
    let given = source.text("iqn");
    if !given.is_empty() && !is_initiator(given) {
        faults.invalid(&source.at("iqn"), given, "must be valid format");
    }
    lun(source, faults);
    let authenticated = source.flag("chapAuthDiscovery") || source.flag("chapAuthSession");
    if authenticated && !source.has("secretRef") {
        faults.required(&source.at("secretRef"), "");
    }
    if source.has("initiatorName") && !is_initiator(source.text("initiatorName")) {
        faults.invalid(
            &source.at("initiatorname"),
            source.text("initiatorName"),
            "must be valid format",
        );
    }
}

/// `iqn.YYYY-MM.authority:name`, `eui.` with 16 or `naa.` with 32 letters and digits (RFC 3720).
fn is_initiator(text: &str) -> bool {
    let coded = |rest: &str, length: usize| {
        rest.len() == length && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if let Some(rest) = text.strip_prefix("eui.") {
        return coded(rest, 16);
    }
    if let Some(rest) = text.strip_prefix("naa.") {
        return coded(rest, 32);
    }
    let Some((date, authority)) = text
        .strip_prefix("iqn.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let digits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit())
    };
    let dated = date
        .split_once('-')
        .is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let Some((authority, name)) = authority.split_once(':') else {
        return false;
    };
    dated
        && !authority.is_empty()
        && authority
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c))
}

fn fibre_channel(source: &Spot<'_>, faults: &mut Faults) {
    let (targets, ids) = (source.count("targetWWNs"), source.count("wwids"));
    let at = source.at("targetWWNs");
    match (targets, ids) {
        (0, 0) => faults.required(&at, "must specify either targetWWNs or wwids, but not both"),
        (0, _) | (_, 0) => {}
        _ => faults.invalid(
            &at,
            source.child("targetWWNs").value.clone(),
            "targetWWNs and wwids can not be specified simultaneously",
        ),
    }
    if targets == 0 {
        return;
    }
    if source.has("lun") {
        lun(source, faults);
    } else {
        let detail = "lun is required if targetWWNs is specified";
        faults.required(&source.at("lun"), detail);
    }
}

/// The name of a CSI driver.
pub(super) fn csi_driver(spot: &Spot<'_>, key: &str, faults: &mut Faults) {
    /// As `CSIDriver.metadata.name`.
    const LONGEST: usize = 63;
    let (given, at) = (spot.text(key), spot.at(key));
    if given.is_empty() {
        faults.required(&at, "");
    }
    if given.len() > LONGEST {
        faults
            .0
            .push(apimachinery::field::FieldError::too_long(&at, LONGEST));
    }
    for detail in name::dns1123_subdomain(&given.to_lowercase()) {
        faults.invalid(&at, given, detail);
    }
}

/// A reference to a Secret by name and namespace.
pub(super) fn secret_reference(spot: &Spot<'_>, faults: &mut Faults) {
    faults.demanded(spot, &["name", "namespace"]);
    faults.named_if_given(spot, "name", name::dns1123_subdomain);
    faults.named_if_given(spot, "namespace", name::dns1123_label);
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    #[test]
    fn sources_say_what_they_must() {
        for (kind, source, expected) in [
            (
                "hostPath",
                json!({"path": "/a/../b"}),
                vec!["v.hostPath.path Invalid"],
            ),
            (
                "hostPath",
                json!({"path": "", "type": "Odd"}),
                vec!["v.hostPath.path Required"],
            ),
            (
                "hostPath",
                json!({"path": "/a", "type": "Odd"}),
                vec!["v.hostPath.type NotSupported"],
            ),
            (
                "nfs",
                json!({}),
                vec![
                    "v.nfs.path Invalid",
                    "v.nfs.path Required",
                    "v.nfs.server Required",
                ],
            ),
            ("nfs", json!({"server": "s", "path": "/x"}), vec![]),
            (
                "gcePersistentDisk",
                json!({"partition": 300}),
                vec![
                    "v.persistentDisk.partition Invalid",
                    "v.persistentDisk.pdName Required",
                ],
            ),
            (
                "iscsi",
                json!({"targetPortal": "t", "iqn": "iqn.2024-01.com.example:x", "lun": 7}),
                vec![],
            ),
            (
                "iscsi",
                json!({"iqn": "abc", "lun": 256, "chapAuthSession": true}),
                vec![
                    "v.iscsi.iqn Invalid",
                    "v.iscsi.lun Invalid",
                    "v.iscsi.secretRef Required",
                    "v.iscsi.targetPortal Required",
                ],
            ),
            ("fc", json!({}), vec!["v.fc.targetWWNs Required"]),
            (
                "fc",
                json!({"targetWWNs": ["a"]}),
                vec!["v.fc.lun Required"],
            ),
        ] {
            let path = FieldPath::new("v").child(path_of(kind));
            let found = judged(|faults| common(&Spot::new(&source, path), kind, faults));
            assert_eq!(found, expected, "{kind} {source}");
        }
    }

    #[test]
    fn initiators_are_those_of_rfc_3720() {
        for good in [
            "iqn.2001-04.com.example:storage.disk1",
            "eui.02004567A425678D",
            "naa.62004567BA64678D0123456789ABCDEF",
        ] {
            assert!(is_initiator(good), "{good}");
        }
        for bad in [
            "",
            "iqn.2001-04",
            "iqn.2001-04.com.example",
            "iqn.201-04.com:x",
            "eui.0200",
            "x:y",
        ] {
            assert!(!is_initiator(bad), "{bad}");
        }
    }
}
