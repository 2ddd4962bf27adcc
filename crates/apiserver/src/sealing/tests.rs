use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::parse;
use super::*;

const PLACE: &str = "/core/secrets/default/s";
const PLAIN: &[u8] = br#"{"data":{}}"#;

pub(crate) fn key(name: &str, byte: u8) -> String {
    let secret = STANDARD.encode([byte; 32]);
    format!("{{aesgcm: {{keys: [{{name: {name}, secret: {secret}}}]}}}}")
}

pub(crate) fn rules(resources: &str, providers: &str) -> Result<Rules, String> {
    parse(&format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [{resources}]\n  providers: [{providers}]\n"
    ))
}

fn sealing(resources: &str, providers: &str) -> Sealing {
    let sealing = Sealing::default();
    sealing.set(rules(resources, providers).unwrap());
    sealing
}

#[test]
fn the_stored_form_names_provider_and_key() {
    let sealing = sealing("secrets", &key("k1", 1));
    let stored = sealing.seal(PLACE, PLAIN.to_vec()).unwrap();
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:k1:"));
    assert_eq!(*sealing.open(PLACE, &stored).unwrap(), *PLAIN);
    assert!(!sealing.is_stale(PLACE, &stored));
    // Other resources are as they were.
    let other = "/core/configmaps/default/s";
    assert_eq!(sealing.seal(other, PLAIN.to_vec()).unwrap(), PLAIN);
}

#[test]
fn the_first_provider_writes_and_all_read() {
    let old = sealing("secrets", &key("k1", 1));
    let stored = old.seal(PLACE, PLAIN.to_vec()).unwrap();
    let both = sealing(
        "secrets",
        &format!("{}, {}, {{identity: {{}}}}", key("k2", 2), key("k1", 1)),
    );
    assert_eq!(*both.open(PLACE, &stored).unwrap(), *PLAIN);
    assert_eq!(*both.open(PLACE, PLAIN).unwrap(), *PLAIN);
    assert!(both.is_stale(PLACE, &stored) && both.is_stale(PLACE, PLAIN));
    let renewed = both.seal(PLACE, PLAIN.to_vec()).unwrap();
    assert!(renewed.starts_with(b"k8s:enc:aesgcm:v1:k2:"));
}

#[test]
fn a_missing_key_is_named() {
    let stored = sealing("secrets", &key("old", 1))
        .seal(PLACE, PLAIN.to_vec())
        .unwrap();
    for without in [
        sealing("secrets", &key("new", 2)),
        sealing("secrets", "{identity: {}}"),
        Sealing::default(),
    ] {
        let error = without.open(PLACE, &stored).unwrap_err().to_string();
        assert!(
            error.contains("the key \"old\" of the provider \"aesgcm\""),
            "{error}"
        );
    }
}

#[test]
fn wrong_keys_moved_and_changed_values_are_refused() {
    let sealing_one = sealing("secrets", &key("k", 1));
    let stored = sealing_one.seal(PLACE, PLAIN.to_vec()).unwrap();
    let error =
        |s: &Sealing, place: &str, stored: &[u8]| s.open(place, stored).unwrap_err().to_string();
    let wrong = sealing("secrets", &key("k", 9));
    assert!(error(&wrong, PLACE, &stored).contains("\"k\""));
    assert!(error(&sealing_one, "/core/secrets/default/t", &stored).contains("moved"));
    let mut changed = stored.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    assert!(error(&sealing_one, PLACE, &changed).contains("changed"));
    assert!(error(&sealing_one, PLACE, b"k8s:enc:aesgcm:v1:k:").contains("changed"));
    assert!(error(&sealing_one, PLACE, b"k8s:enc:\xff\xff").contains("provider"));
}

/// Who may write to the store must not be able to slip a plain value under the rules.
#[test]
fn plain_text_needs_identity() {
    let error = sealing("secrets", &key("k", 1))
        .open(PLACE, PLAIN)
        .unwrap_err();
    assert!(error.to_string().contains("identity"), "{error}");
}

#[test]
fn resources_are_named_as_upstream() {
    let sealed = |resources: &str, place: &str| {
        let stored = sealing(resources, &key("k", 1))
            .seal(place, PLAIN.to_vec())
            .unwrap();
        stored.starts_with(SEALED)
    };
    assert!(sealed("widgets.example.com", "/example.com/widgets/-/w"));
    assert!(!sealed("widgets.example.com", "/example.org/widgets/-/w"));
    assert!(sealed("'*.example.com'", "/example.com/widgets/-/w"));
    assert!(sealed("'*.'", PLACE));
    assert!(!sealed("'*.'", "/apps/deployments/default/d"));
    assert!(sealed("'*.*'", "/apps/deployments/default/d"));
    assert_eq!(sealing("secrets, '*.*'", &key("k", 1)).prefixes(), ["/"]);
    assert_eq!(
        sealing("secrets, configmaps", &key("k", 1)).prefixes(),
        ["/core/configmaps/", "/core/secrets/"]
    );
}

#[test]
fn what_cannot_be_used_is_said() {
    let why = |resources: &str, providers: &str| rules(resources, providers).unwrap_err();
    let aes = key("k", 1);
    for (resources, providers, said) in [
        ("secrets", "{aescbc: {keys: []}}", "aescbc: not supported"),
        (
            "secrets",
            "{secretbox: {keys: []}}",
            "secretbox: not supported",
        ),
        ("secrets", "{kms: {name: a}}", "kms: not supported"),
        ("secrets", "", "at least one provider"),
        ("secrets", "{}", "exactly one of"),
        ("", aes.as_str(), "at least one resource"),
        ("'*'", aes.as_str(), "`*.*`"),
        ("'secrets.*'", aes.as_str(), "one group"),
        ("secrets, secrets", aes.as_str(), "covered by"),
        ("'*.*', secrets", aes.as_str(), "covered by"),
        ("pods/status", aes.as_str(), "subresources"),
        ("secrets", "{aesgcm: {keys: []}}", "at least one key"),
        (
            "secrets",
            "{aesgcm: {keys: [{name: a, secret: AAAA}]}}",
            "3 bytes",
        ),
        (
            "secrets",
            "{aesgcm: {keys: [{name: a, secret: '!'}]}}",
            "not base64",
        ),
        (
            "secrets",
            "{aesgcm: {keys: [{name: 'a:b', secret: AAAA}]}}",
            "colon",
        ),
        (
            "secrets",
            "{aesgcm: {keys: [{secret: AAAA}]}}",
            "name: required",
        ),
        (
            "secrets",
            "{aesgcm: {key: c2VjcmV0}}",
            "not an EncryptionConfiguration",
        ),
    ] {
        let text = why(resources, providers);
        assert!(text.contains(said), "{resources} {providers}: {text}");
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }
    assert!(why("secrets", &format!("{aes}, {aes}")).contains("another key"));
    assert!(
        parse("kind: List\napiVersion: v1")
            .unwrap_err()
            .contains("List")
    );
    assert!(parse("{").unwrap_err().contains("EncryptionConfiguration"));
}
