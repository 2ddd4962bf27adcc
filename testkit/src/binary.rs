//! Where the things under test are: the binary and the guest's image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

fn top() -> &'static Path {
    // testkit/ is a direct child of the repository.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("/"))
}

/// The `ferrovirt` binary: `$FERROVIRT_BIN`, or the one that cargo has built beside the tests.
///
/// # Errors
/// When there is none.
pub fn ferrovirt() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FERROVIRT_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "FERROVIRT_BIN={} is not a file",
            path.display()
        );
        return Ok(path);
    }
    // target/<profile>/deps/<test>-<hash> -> target/<profile>/ferrovirt
    let this = std::env::current_exe().context("finding the test executable")?;
    let path = this
        .parent()
        .and_then(Path::parent)
        .context("the test executable is not in target/<profile>/deps")?
        .join("ferrovirt");
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo build -p ferrovirt` first, as `make test` does",
        path.display()
    );
    Ok(path)
}

/// The tiny guest's image (qcow2), built if it is not there.
///
/// # Errors
/// When it cannot be built.
pub fn tiny_image() -> Result<PathBuf> {
    let path = top().join("target/images/tiny.qcow2");
    if path.is_file() {
        return Ok(path);
    }
    let script = top().join("scripts/images.sh");
    let built = Command::new(&script)
        .arg("tiny")
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(
        built.status.success() && path.is_file(),
        "`{} tiny` has not built {}:\n{}{}",
        script.display(),
        path.display(),
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(path)
}

/// The clients that are no Debian packages (`python` with its Kubernetes client, `helm`): the directory of their
/// programs, installed if it is not there.
///
/// # Errors
/// When they cannot be installed.
pub fn clients() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| top().join("target"), |dir| top().join(dir));
    let path = target.join("clients/bin");
    if target.join("clients/installed").is_file() {
        return Ok(path);
    }
    let script = top().join("scripts/clients.sh");
    let installed = Command::new(&script)
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(
        installed.status.success(),
        "`{}` has not installed them:\n{}{}",
        script.display(),
        String::from_utf8_lossy(&installed.stdout),
        String::from_utf8_lossy(&installed.stderr)
    );
    Ok(path)
}

/// The files of `tests/clients`: scripts and charts for them.
#[must_use]
pub fn client_files() -> PathBuf {
    top().join("tests/clients")
}
