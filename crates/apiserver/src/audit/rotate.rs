//! A log file that is put aside when it has grown, as `audit-2026-11-21T12-30-00.000.log` beside `audit.log`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// When a file is put aside, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Bytes of a file; 0 is no bound.
    pub max_bytes: u64,
    /// Files that are kept beside the current one; 0 keeps all.
    pub backups: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    size: u64,
    rotation: Rotation,
    /// Whether half a line may lie at the end.
    torn: bool,
    /// Whether it is a file of the file system, which can be cut; a device or a pipe cannot.
    is_regular: bool,
    /// When a file was put aside last.
    last: Timestamp,
}

fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    // Requests and their authors: for the eyes of whoever runs the server.
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata.len(), metadata.is_file()))
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let (file, size, is_regular) = open(path)?;
        Ok(RotatingFile {
            path: path.to_owned(),
            file,
            size,
            rotation,
            torn: false,
            is_regular,
            last: Timestamp::UNIX_EPOCH,
        })
    }

    /// Appends whole lines: all of them, or (when this fails) none.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let grown = self.size.saturating_add(lines.len() as u64);
        if self.is_regular
            && self.rotation.max_bytes > 0
            && self.size > 0
            && grown > self.rotation.max_bytes
            && let Err(e) = self.rotate()
        {
            // A log that grows is better than none.
            tracing::warn!(path = %self.path.display(), error = %e, "putting the audit log aside");
        }
        if self.torn {
            self.file.set_len(self.size)?;
            self.torn = false;
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += lines.len() as u64;
                Ok(())
            }
            Err(e) => {
                // What a full device took of a line is taken back; if that fails too, before the next line.
                self.torn = self.is_regular && self.file.set_len(self.size).is_err();
                Err(e)
            }
        }
    }

    /// Name of a file that was put aside at a time.
    fn aside(&self, at: Timestamp) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let stamp = at.strftime("%Y-%m-%dT%H-%M-%S%.3f");
        let name = match self.path.extension() {
            Some(extension) => format!("{stem}-{stamp}.{}", extension.to_string_lossy()),
            None => format!("{stem}-{stamp}"),
        };
        self.path.with_file_name(name)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Names sort as the files were put aside, also of two in one millisecond.
        let next = self.last + jiff::SignedDuration::from_millis(1);
        self.last = Timestamp::now().max(next);
        let aside = self.aside(self.last);
        if aside.exists() {
            let what = format!("{} is there already", aside.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        fs::rename(&self.path, &aside)?;
        (self.file, self.size, self.is_regular) = open(&self.path)?;
        self.torn = false;
        self.forget_old()
    }

    fn forget_old(&self) -> io::Result<()> {
        if self.rotation.backups == 0 {
            return Ok(());
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let prefix = format!("{stem}-");
        let parent = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut old: Vec<PathBuf> = fs::read_dir(parent)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // Only what has a time for a name: a neighbour's file is not ours to remove.
                let stamp = name.strip_prefix(&prefix).unwrap_or_default();
                path.extension() == self.path.extension()
                    && stamp.len() >= 23
                    && stamp
                        .bytes()
                        .take(23)
                        .all(|b| b.is_ascii_digit() || b"-T.".contains(&b))
            })
            .collect();
        // Names sort as their times do.
        old.sort();
        let surplus = old.len().saturating_sub(self.rotation.backups);
        for path in old.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_aside_before_it_grows_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let neighbour = dir.path().join("audit-2026-notes.log");
        fs::write(&neighbour, "mine").unwrap();
        let rotation = Rotation {
            max_bytes: 100,
            backups: 2,
        };
        let mut file = RotatingFile::open(&path, rotation).unwrap();
        for n in 0..20 {
            file.append(format!("{n:039}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<PathBuf> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(neighbour.exists());
        let text: String = names
            .iter()
            .filter(|p| **p != neighbour)
            .map(|p| fs::read_to_string(p).unwrap())
            .collect();
        let mut kept: Vec<u64> = text.lines().map(|l| l.parse().unwrap()).collect();
        kept.sort_unstable();
        assert_eq!(kept, (14..20).collect::<Vec<u64>>());
        for path in names {
            assert!(fs::metadata(path).unwrap().len() <= 100);
        }
        // A start goes on where the last one ended.
        let mut again = RotatingFile::open(&path, rotation).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        again.append(b"x\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), before + 2);
    }
}
