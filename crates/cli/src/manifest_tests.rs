use super::*;
use proptest::prelude::*;

fn texts(text: &str) -> Vec<(usize, String)> {
    split(text)
}

#[test]
fn documents_end_at_markers() {
    assert_eq!(
        texts("# about\n---\na: 1\n--- # second\nb: 2\n...\n---\n\n--- {c: 3}\n"),
        [
            (2, "a: 1\n".to_owned()),
            (4, "b: 2\n".to_owned()),
            (8, " {c: 3}\n".to_owned()),
        ]
    );
    assert_eq!(texts("a: |\n  ---\n  x\nb: ---x\n").len(), 1);
    assert!(texts("%YAML 1.2\n---\n# nothing\n").is_empty());
    assert!(texts("").is_empty());
}

const VM: &str =
    "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata:\n  name: vm1\n  namespace: web\n";

#[test]
fn objects_remember_where_they_stand() {
    let file = format!("{VM}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n");
    let all = parse("vm.yaml", &file).unwrap();
    let titles: Vec<String> = all.iter().map(Manifest::title).collect();
    assert_eq!(
        titles,
        [
            "vm.yaml: document 1: VirtualMachine web/vm1",
            "vm.yaml: document 2: Secret s"
        ]
    );
}

#[test]
fn lists_stand_for_their_items() {
    let json = r#"{"kind":"List","apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}]}"#;
    let all = parse("l.json", json).unwrap();
    assert_eq!(
        all.first().unwrap().title(),
        "l.json: document 1, item 1: Pod p"
    );
}

#[test]
fn faults_name_document_and_line() {
    let broken = format!("{VM}---\nkind: [\n");
    let error = parse("vm.yaml", &broken).unwrap_err().render();
    assert!(
        error.starts_with("vm.yaml: document 2: not valid YAML: "),
        "{error}"
    );
    assert!(
        error.contains("line 7") || error.contains("line 8"),
        "{error}"
    );
    let nameless = parse("vm.yaml", "apiVersion: v1\nkind: Pod\n").unwrap_err();
    assert_eq!(
        nameless.render(),
        "vm.yaml: document 1: metadata.name is missing or is not a string"
    );
    let scalar = parse("vm.yaml", "hello").unwrap_err();
    assert_eq!(scalar.render(), "vm.yaml: document 1: not an object");
}

#[test]
fn directories_give_their_manifests_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.yaml", "a.yml", "c.txt"] {
        let text = VM.replace("vm1", name.split('.').next().unwrap());
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let all = read(&[dir.path().to_owned()]).unwrap();
    let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(read(&[dir.path().join("none.yaml")]).is_err());
}

proptest! {
    #[test]
    fn no_content_is_lost_and_nothing_panics(text in "([a-c:#% -]|\n|---\n){0,40}") {
        let kept: usize = split(&text).iter().map(|(_, t)| t.matches(['a', 'b', 'c']).count()).sum();
        let content: usize = text
            .lines()
            .filter(|l| !is_blank(l))
            .map(|l| l.split('#').next().unwrap().matches(['a', 'b', 'c']).count())
            .sum();
        prop_assert!(kept >= content);
        let _ = parse("x", &text);
    }
}
