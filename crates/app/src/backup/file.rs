//! A file that appears whole, under its name, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A file being written beside its place; removed unless it is put there.
pub(super) struct Pending {
    pub(super) file: File,
    temporary: PathBuf,
    path: PathBuf,
    force: bool,
    placed: bool,
}

impl Pending {
    /// Begins; refuses at once what would be refused in the end.
    pub(super) fn create(path: &Path, force: bool) -> Result<Self> {
        let Some(name) = path.file_name() else {
            bail!("{} is no name of a file", path.display());
        };
        if !force && fs::symlink_metadata(path).is_ok() {
            bail!("{} exists already; --force overwrites it", path.display());
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600) // Secrets are in there.
            .open(&temporary)
            .with_context(|| format!("making {}", temporary.display()))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
            force,
            placed: false,
        })
    }

    /// Where it is until it is placed.
    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes it durable under its name.
    pub(super) fn place(mut self) -> Result<()> {
        let shown = self.path.display();
        self.file
            .sync_all()
            .with_context(|| format!("writing {shown} to its device"))?;
        let flags = match self.force {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        renameat_with(CWD, &self.temporary, CWD, &self.path, flags)
            .map_err(io::Error::from)
            .with_context(|| format!("giving {shown} its name"))?;
        self.placed = true;
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .with_context(|| format!("writing {} to its device", parent.display()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_replaces_only_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        drop(Pending::create(&path, false).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let pending = Pending::create(&path, false).unwrap();
        fs::write(pending.temporary(), "one").unwrap();
        pending.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let refused = Pending::create(&path, false).err().unwrap();
        assert!(refused.to_string().contains("--force"), "{refused}");
        Pending::create(&path, true).unwrap().place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        // One that came meanwhile is not replaced either.
        let pending = Pending::create(&directory.path().join("g"), false).unwrap();
        fs::write(directory.path().join("g"), "another").unwrap();
        pending.place().unwrap_err();
        assert_eq!(fs::read(directory.path().join("g")).unwrap(), b"another");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
