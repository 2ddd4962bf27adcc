//! docs/backup.md, done as it says: every block of `sh`, in order, while the platform runs or is stopped as the page wants.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use testkit::{Options, Platform, run};

use crate::objects::{self, Kind};

const PAGE: &str = include_str!("../../../../docs/backup.md");

/// What the page has the reader do.
#[derive(Debug, PartialEq)]
enum Step {
    Run(String),
    Start,
    Stop,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match (&mut block, line) {
            (Some(text), "```") => {
                steps.push(Step::Run(std::mem::take(text)));
                block = None;
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, "```sh") => block = Some(String::new()),
            (None, "<!-- the platform runs -->") => steps.push(Step::Start),
            (None, "<!-- the platform is stopped -->") => steps.push(Step::Stop),
            _ => {}
        }
    }
    steps
}

fn shell(p: &Platform, text: &str, backups: &Path) -> Result<String> {
    // The page's places are this test's; nothing else of it is changed.
    let text = text
        .replace("/var/lib/ferrovirt", &p.data_dir().display().to_string())
        .replace("/backups", &backups.display().to_string());
    let binary = testkit::ferrovirt()?;
    let mut path = binary
        .parent()
        .context("a directory")?
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &text])
        .env("PATH", path)
        .env("KUBECONFIG", p.dir().join("kc"))
        .output()
        .context("running bash")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{text}{said}");
    Ok(said)
}

#[test]
fn the_page_on_backups_does_what_it_says() {
    let options = Options {
        enable_runtime: false,
        ..Options::default()
    };
    run(options, async |p| {
        let backups = p.dir().join("backups");
        std::fs::create_dir(&backups)?;
        p.kubectl()
            .run(&["create", "configmap", "precious", "--from-literal=a=b"])
            .await?;
        let mut said = String::new();
        for step in steps(PAGE) {
            match step {
                Step::Run(text) => said.push_str(&shell(p, &text, &backups)?),
                Step::Start if p.pid().is_none() => p.restart().await?,
                Step::Stop if p.pid().is_some() => p.stop().await?,
                Step::Start | Step::Stop => {}
            }
        }
        for expected in [
            "is whole: revision",
            "the keys that are in the data directory stay",
            "kube-system",
            "the store is whole",
        ] {
            ensure!(
                said.contains(expected),
                "{expected:?} was not said in\n{said}"
            );
        }
        p.restart().await?;
        let found = objects::get(p, Kind::ConfigMap, "precious").await?;
        match objects::text(&found, "/data/a").as_str() {
            "b" => Ok(()),
            other => bail!("it is {other:?}"),
        }
    });
}
