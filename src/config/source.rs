//! Reads the files of a configuration: the main file, then `conf.d/*.toml` beside it by name.
//!
//! It exists to bound what is read and to name the file in every failure. It may not look into the text.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result, ResultExt};

/// Larger than any configuration; a mistaken path must not fill the memory.
const LARGEST_FILE: u64 = 1 << 20;
const MOST_FILES: usize = 256;

/// One file, read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Permission bits.
    pub(super) mode: u32,
}

impl Source {
    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// The main file and its `conf.d`, in the order in which they count: later ones win.
pub(super) fn read_all(main: &Path) -> Result<Vec<Source>> {
    let mut sources = vec![read(main)?];
    for path in drop_ins(main)? {
        sources.push(read(&path)?);
    }
    Ok(sources)
}

/// Where the files are, and where others may come: the main file, its `conf.d`, and what is in there now.
pub(super) fn places(main: &Path) -> Vec<PathBuf> {
    let mut places = vec![main.to_owned(), drop_in_dir(main)];
    // A directory that cannot be read has a look of its own.
    places.extend(drop_ins(main).unwrap_or_default());
    places
}

fn drop_in_dir(main: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).join("conf.d")
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>> {
    let dir = drop_in_dir(main);
    let failed = || format!("cannot read directory {}", dir.display());
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.or_fail(Kind::Config, failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.or_fail(Kind::Config, failed)?.path();
        let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|e| e == "toml") && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MOST_FILES {
            return Err(Error::new(Kind::Config, format!("more than {MOST_FILES} files in {}", dir.display())));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Source> {
    let failed = || format!("cannot read the configuration {}", path.display());
    let file = File::open(path).map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::NotFound => "create it, or name another one with --config FILE",
            ErrorKind::PermissionDenied => "run as root, or give this user read permission",
            _ => "name another one with --config FILE",
        };
        Error::new(Kind::Config, failed()).caused_by(e).hint(hint)
    })?;
    let meta = file.metadata().or_fail(Kind::Config, failed)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Config, format!("{}: it is not a file", failed()))
            .hint("name the file itself, such as --config /etc/lifeboat/lifeboat.toml"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).or_fail(Kind::Config, failed)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::new(Kind::Config, format!("{} is larger than 1 MiB: not a configuration", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        // The error of the library holds the bytes, secrets among them.
        let line = e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        Error::new(Kind::Config, format!("{}:{line}: the file is not UTF-8 text", path.display()))
    })?;
    Ok(Source { path: path.to_owned(), text, mode: meta.mode() & 0o7777 })
}
