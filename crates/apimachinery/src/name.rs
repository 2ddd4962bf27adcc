//! Syntax of names, label keys and label values.
//!
//! Every validator returns the complaints, in kube's wording; an empty list means the text is good.
//! The syntax is checked by hand: the regular expressions stand only in the messages.

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE_FMT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const CONFIG_KEY_FMT: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_MESSAGE: &str =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

/// Longest label (RFC 1123), label value, and name part of a label key.
pub const LABEL_MAX: usize = 63;
/// Longest subdomain (RFC 1123): most object names.
pub const SUBDOMAIN_MAX: usize = 253;
/// Characters that [`generate_name`] keeps of its base.
pub const GENERATE_BASE_MAX: usize = 58;

fn regex_error(message: &str, fmt: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{message} (e.g. {}regex used for validation is '{fmt}')",
        examples.join(" or ")
    )
}

/// For names. Kube counts bytes too, but says characters.
fn name_too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// For label keys and values.
fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| lower_alnum(*b))
        && bytes.last().is_some_and(|b| lower_alnum(*b))
        && bytes.iter().all(|b| lower_alnum(*b) || *b == b'-')
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Dotted lower-case names of up to 253 bytes: most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(name_too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label) {
        errors.push(regex_error(
            SUBDOMAIN_MESSAGE,
            SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    errors
}

/// Lower-case names without dots of up to 63 bytes: namespaces, containers, services.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(name_too_long(LABEL_MAX));
    }
    if !is_label(text) {
        errors.push(if text.split('.').all(is_label) {
            "must not contain dots".to_owned()
        } else {
            regex_error(LABEL_MESSAGE, LABEL_FMT, &["my-name", "123-abc"])
        });
    }
    errors
}

/// As [`dns1123_label`], and beginning with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(name_too_long(LABEL_MAX));
    }
    if !is_label(text) || !text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) {
        errors.push(regex_error(
            LABEL_1035_MESSAGE,
            LABEL_1035_FMT,
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// Names that can stand in a path: RBAC objects and the like.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%']
        .iter()
        .filter(|c| text.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

/// `[PREFIX/]NAME`: keys of annotations, finalizers, resource names.
pub fn qualified_name(text: &str) -> Vec<String> {
    qualified(text, "a qualified name ")
}

/// `[PREFIX/]NAME`: keys of labels. As [`qualified_name`], but says "label key".
pub fn label_key(text: &str) -> Vec<String> {
    qualified(text, "a valid label key ")
}

fn qualified(text: &str, what: &str) -> Vec<String> {
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let mut parts = text.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|e| format!("prefix part {e}")),
                );
            }
            name
        }
        _ => {
            let message = regex_error(
                &format!("{what}{QUALIFIED_MESSAGE}"),
                QUALIFIED_FMT,
                EXAMPLES,
            );
            return vec![format!(
                "{message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        errors.push(format!(
            "name part {}",
            regex_error(QUALIFIED_MESSAGE, QUALIFIED_FMT, EXAMPLES)
        ));
    }
    errors
}

/// Values of labels.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        errors.push(regex_error(
            VALUE_MESSAGE,
            VALUE_FMT,
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// Keys of ConfigMaps and Secrets.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if text.is_empty()
        || !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        errors.push(regex_error(
            CONFIG_KEY_MESSAGE,
            CONFIG_KEY_FMT,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// IANA service names: names of ports.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push("must be no more than 15 bytes".to_owned());
    }
    if !text.bytes().all(|b| lower_alnum(b) || b == b'-') {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A name from `metadata.generateName` and a random suffix, short enough to be a label.
pub fn generate_name(base: &str, random: &str) -> String {
    let mut end = base.len().min(GENERATE_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{random}", base.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_good(check: fn(&str) -> Vec<String>, texts: &[&str]) {
        for text in texts {
            assert_eq!(check(text), Vec::<String>::new(), "{text}");
        }
    }

    fn all_bad(check: fn(&str) -> Vec<String>, texts: &[&str]) {
        for text in texts {
            assert_ne!(check(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn names_good_and_bad() {
        let (l63, l64) = ("a".repeat(63), "a".repeat(64));
        let s253 = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        all_good(dns1123_label, &["a", "0", "a-b", "1-2", &l63]);
        all_bad(
            dns1123_label,
            &["", "-", "a-", "-a", "A", "a_b", "a.b", "é", "a b", &l64],
        );
        all_good(dns1123_subdomain, &["a", "a.b", "1.2-3.c", &s253]);
        all_bad(
            dns1123_subdomain,
            &[
                "",
                ".",
                "a.",
                ".a",
                "a..b",
                "A.b",
                "a.-b",
                &format!("{s253}x"),
            ],
        );
        all_good(dns1035_label, &["a", "a1", "a-b"]);
        all_bad(dns1035_label, &["", "1a", "a.b", "A", &l64]);
        all_good(path_segment, &["", "...", "system:node", "a b"]);
        all_bad(path_segment, &[".", "..", "a/b", "a%b"]);
        all_good(
            qualified_name,
            &["a", "A_b.c", "example.com/A", "kubevirt.io/vm-name"],
        );
        all_bad(
            qualified_name,
            &["", "/", "/a", "a/", "a/b/c", "A.com/a", "a b", &l64, "_a"],
        );
        all_good(label_value, &["", "a", "A_b.c-d", &l63]);
        all_bad(label_value, &["-a", "a b", "a/b", &l64]);
        all_good(config_map_key, &["a", ".a", "A_b-c.d"]);
        all_bad(config_map_key, &["", ".", "..", "..a", "a b", "a/b"]);
        all_good(port_name, &["http", "a-1"]);
        all_bad(
            port_name,
            &["", "123", "a--b", "-a", "HTTP", "abcdefghijklmnop"],
        );
    }

    #[test]
    fn wording_is_as_recorded_from_kube() {
        assert_eq!(
            dns1123_subdomain("UPPER"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            dns1123_label("Bad_Name"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            label_key("a/b/c"),
            [
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ]
        );
        assert_eq!(
            qualified_name("Bad Key"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
        assert_eq!(
            label_value("a b"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(
            config_map_key("bad key"),
            [
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            ]
        );
        assert_eq!(
            dns1123_label(&"a".repeat(64)),
            ["must be no more than 63 characters"]
        );
        assert_eq!(
            label_value(&"a".repeat(64)),
            ["must be no more than 63 bytes"]
        );
    }

    #[test]
    fn generated_names_stay_labels() {
        assert_eq!(generate_name("web-", "x7k2p"), "web-x7k2p");
        assert_eq!(generate_name(&"a".repeat(100), "x7k2p").len(), 63);
        assert_eq!(generate_name(&"é".repeat(40), "x").len(), 59);
    }
}
