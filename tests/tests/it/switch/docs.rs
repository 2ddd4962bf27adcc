//! docs/vm-runtime.md is executed: its commands are run in order, and answer what the page shows.
//!
//! | in a fence ```` ```console ```` | means |
//! |---|---|
//! | `$ command` | run by a shell; `\` at the end goes on with the next line, as does `> ` |
//! | other lines | what it prints; runs of spaces are alike |
//! | `...` | any lines |
//! | `<age>`, `<uuid>`, `<time>`, `<any>` | such a word; `<any>` is anything on that line |
//! | a comment `<!-- fails -->` before the fence | its last command ends with an error |
//! | between `<!-- where KVM is unusable -->` and `<!-- everywhere -->` | only on such hosts |

use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use testkit::{Kubectl, Options, Platform, eventually, run};

use super::{MANAGER, fresh, off, pod};

const PAGE: &str = include_str!("../../../../docs/vm-runtime.md");

/// A command of the page, and what it prints there.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
    fails: bool,
    without_kvm: bool,
}

fn examples(page: &str) -> Vec<Example> {
    let mut all: Vec<Example> = Vec::new();
    let (mut inside, mut begins, mut goes_on, mut fails) = (false, 0, false, false);
    let mut without_kvm = false;
    for (n, line) in page.lines().enumerate() {
        match (inside, line) {
            (false, "<!-- fails -->") => fails = true,
            (false, "<!-- where KVM is unusable -->") => without_kvm = true,
            (false, "<!-- everywhere -->") => without_kvm = false,
            (false, "```console") => (inside, begins) = (true, all.len()),
            (true, "```") => {
                if let Some(last) = all[begins..].last_mut() {
                    last.fails = fails;
                }
                (inside, fails) = (false, false);
            }
            (true, _) => {
                let more = line.strip_prefix("> ").or(goes_on.then_some(line));
                if let (Some(more), Some(last)) = (more, all[begins..].last_mut()) {
                    last.command = format!("{}\n{more}", last.command);
                } else if let Some(command) = line.strip_prefix("$ ") {
                    all.push(Example {
                        line: n + 1,
                        command: command.to_owned(),
                        output: Vec::new(),
                        fails: false,
                        without_kvm,
                    });
                } else if let Some(last) = all[begins..].last_mut() {
                    last.output.push(line.to_owned());
                }
                goes_on = goes_on_after(line, goes_on);
            }
            (false, _) => {}
        }
    }
    all
}

fn goes_on_after(line: &str, went_on: bool) -> bool {
    (went_on || line.starts_with("$ ")) && line.ends_with('\\')
}

/// Whether a word is what a placeholder stands for.
fn stands_for(name: &str, word: &str) -> bool {
    match name {
        "age" => {
            let digits = |w: &str| w.starts_with(|c: char| c.is_ascii_digit());
            digits(word)
                && word
                    .chars()
                    .all(|c| c.is_ascii_digit() || "smhd".contains(c))
        }
        "uuid" => word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-'),
        "time" => word.contains('T') && word.ends_with('Z'),
        _ => false,
    }
}

/// Whether a printed line is as the page shows it.
fn like(shown: &str, printed: &str) -> bool {
    let Some((before, rest)) = shown.split_once('<') else {
        return shown == printed;
    };
    let Some((name, after)) = rest.split_once('>') else {
        return shown == printed;
    };
    let Some(printed) = printed.strip_prefix(before) else {
        return false;
    };
    let ends = (0..=printed.len()).filter(|i| printed.is_char_boundary(*i));
    let mut ends = ends.map(|i| printed.split_at(i));
    ends.any(|(word, rest)| (name == "any" || stands_for(name, word)) && like(after, rest))
}

fn one_space(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether all that was printed is as the page shows it.
fn alike(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=printed.len()).any(|skipped| alike(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, more)| like(first, line) && alike(rest, more)),
    }
}

async fn execute(p: &Platform, example: &Example) -> Result<()> {
    let mut command = p.kubectl().command("bash");
    // Standard error too: it is what a reader sees.
    command.args(["-c", &format!("exec 2>&1\n{}", example.command)]);
    command.env(
        "PATH",
        format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            p.dir().join("bin").display()
        ),
    );
    let said = Kubectl::finish(command, "").await?;
    let text = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.map(one_space).filter(|l| !l.is_empty()).collect()
    };
    let printed = text(&mut said.stdout.lines());
    let shown = text(&mut example.output.iter().map(String::as_str));
    ensure!(
        said.success != example.fails,
        "it ended {}:\n{}",
        if said.success {
            "well"
        } else {
            "with an error"
        },
        said.stdout
    );
    ensure!(alike(&shown, &printed), "it printed\n{}", said.stdout);
    Ok(())
}

async fn kvm_is_usable(p: &Platform) -> Result<bool> {
    let label = r"jsonpath={.metadata.labels.ferrovirt\.io/kvm}";
    let said = p
        .kubectl()
        .run(&["get", "node", "node1", "-o", label])
        .await?;
    Ok(said == "true")
}

#[test]
fn the_page_on_the_vm_runtime_is_true() {
    let examples = examples(PAGE);
    assert!(examples.len() > 10, "{examples:?}");
    let options = Options {
        node: "node1".to_owned(),
        ..fresh()
    };
    run(options, async |p| {
        let bin = p.dir().join("bin");
        std::fs::create_dir(&bin)?;
        for name in ["bmctl", "ferrovirt"] {
            symlink(testkit::ferrovirt()?, bin.join(name))?;
        }
        off(p).await?;
        eventually("the switch to be ready", async || {
            let ready = pod(p, MANAGER).await?["status"]["containerStatuses"][0]["ready"].clone();
            ensure!(ready == true, "{ready}");
            Ok(())
        })
        .await?;
        for example in &examples {
            if example.without_kvm && kvm_is_usable(p).await? {
                continue;
            }
            execute(p, example).await.with_context(|| {
                let Example { line, command, .. } = example;
                format!("docs/vm-runtime.md, line {line}: {command}")
            })?;
        }
        Ok(())
    });
}

#[test]
fn pages_are_read_as_they_are_written() {
    let page =
        "text\n<!-- fails -->\n```console\n$ one \\\n  --two\nout   put\n$ three\n```\n$ no\n";
    let all = examples(page);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].command, "one \\\n  --two");
    assert_eq!(all[0].output, ["out   put"]);
    assert_eq!((all[0].fails, all[1].fails), (false, true));
    let lines = |text: &str| text.lines().map(one_space).collect::<Vec<_>>();
    for (shown, printed, is) in [
        ("a <age> b", "a 3m12s b", true),
        ("a <age> b", "a soon b", false),
        ("a <any>", "a b c", true),
        ("...\nend", "one\ntwo\nend", true),
        ("...\nend", "one\ntwo", false),
        (
            "check-<uuid> true",
            "check-6ee61513-ea5d-4340-9374-90396cac129e   true",
            true,
        ),
        ("one", "one\ntwo", false),
    ] {
        assert_eq!(
            alike(&lines(shown), &lines(printed)),
            is,
            "{shown:?} {printed:?}"
        );
    }
}
