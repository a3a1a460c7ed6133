//! The configuration: files and environment in, validated [`Settings`] and the origin of every value out.
//!
//! It exists so that a mistake is found before anything starts, at its line, with the key that was meant. The way is
//! text -> [`walk`] (one file, shapes, carets) -> [`layers`] (merge) -> [`validate`] (cross checks) -> [`Settings`].
//! It may not talk to etcd or the store, and it opens the files that it names only in [`Loaded::check`].
//!
//! Rules of merging, for users: the main file, then `conf.d/*.toml` beside it by name, then `LIFEBOAT_*` variables,
//! later ones win. Tables merge key by key. `cluster.members` is replaced as a whole. A `[[schedule]]` replaces the
//! one of the same name in an earlier file as a whole, others are added; where no file has one, the built-in hourly
//! schedule holds, and `schedule = []` means none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result, ResultExt};

mod check;
pub mod credentials;
mod explain;
mod layers;
mod merged;
mod problem;
mod reference;
mod schema;
mod secret;
mod settings;
mod source;
mod stamp;
#[cfg(test)]
mod tests;
mod validate;
mod walk;

pub use credentials::ConfiguredFile;
pub use explain::Explained;
pub use reference::{Entry, Reference, Section, reference};
pub use secret::SecretSource;
pub use settings::*;
pub use stamp::Stamp;

use problem::Problem;

/// The main file when none is named; `conf.d` is looked for beside it.
pub const DEFAULT_PATH: &str = "/etc/lifeboat/lifeboat.toml";

/// A loaded configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    explained: Vec<Explained>,
}

impl Loaded {
    /// Every effective value with its origin, in the order of the shipped file. Secrets are `(set, not shown)`.
    pub fn explain(&self) -> Vec<Explained> {
        self.explained.clone()
    }

    /// Where each key got its value: `file:line`, `environment variable NAME` or `default`.
    pub fn origins(&self) -> HashMap<String, String> {
        self.explained.iter().map(|e| (e.key.clone(), e.origin.clone())).collect()
    }

    /// Opens every file that the settings name: secrets, certificates, keys. Needs no network.
    ///
    /// # Errors
    /// One error that lists every file that cannot be used.
    pub fn check(&self) -> Result<()> {
        let problems = check::files(&self.settings, &self.origins());
        if problems.is_empty() { Ok(()) } else { Err(problem::into_error(problems)) }
    }
}

/// Loads the configuration: `path` (or [`DEFAULT_PATH`]), its `conf.d`, and the `LIFEBOAT_*` variables of `env`.
/// `CREDENTIALS_DIRECTORY` in `env` is where relative `*_file` paths of secrets are looked up.
///
/// # Errors
/// Kind `Config`, with all problems of all files at once: place, key, caret and what was meant.
pub fn load(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Loaded> {
    let hostname = nix::unistd::gethostname()
        .map_err(std::io::Error::from)
        .or_fail(Kind::Config, || "cannot ask for the name of this host, the default of node.name")?;
    load_on(path, env, &hostname.to_string_lossy())
}

fn load_on(path: Option<&Path>, env: impl Iterator<Item = (String, String)>, hostname: &str) -> Result<Loaded> {
    let sources = source::read_all(path.unwrap_or(Path::new(DEFAULT_PATH)))?;
    load_sources(sources, env.collect(), hostname)
}

/// As [`load`], of files that are in memory: text by name, in order. Touches no disk.
///
/// # Errors
/// As [`load`].
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn load_texts(files: &[(&str, &str)], env: Vec<(String, String)>) -> Result<Loaded> {
    let source = |(path, text): &(&str, &str)| source::Source { path: path.into(), text: (*text).into(), mode: 0o600 };
    load_sources(files.iter().map(source).collect(), env, "this-host")
}

fn load_sources(sources: Vec<source::Source>, env: Vec<(String, String)>, hostname: &str) -> Result<Loaded> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for source in &sources {
        let entries = walk::walk(&source.name(), &source.text, &mut problems);
        refuse_open_secrets(source, &entries, &mut problems);
        files.push(entries);
    }
    let environment = layers::environment(&env, &mut problems);
    let root = layers::merge(files, environment, &mut problems).map_err(internal)?;
    if !problems.is_empty() {
        return Err(problem::into_error(problems));
    }
    let explained = explain::explain(&root);
    let origins = explain::origins(&root);
    let merged: merged::Merged = root.try_deserialize().map_err(internal)?;
    let credentials = env.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY").map(|(_, dir)| PathBuf::from(dir));
    let context = validate::Context {
        origin: &|key| origins.get(key).cloned().unwrap_or_else(|| "not set".to_owned()),
        hostname,
        credentials: credentials.as_deref(),
    };
    let settings = validate::settings(merged, context).map_err(problem::into_error)?;
    Ok(Loaded { settings, files: sources.into_iter().map(|s| s.path).collect(), explained })
}

/// The walk has checked names and shapes, so the library has nothing left to find. Its text could quote a value.
fn internal(_: config::ConfigError) -> Error {
    Error::new(Kind::Internal, "the merged configuration does not fit the table of keys (a defect of this program)")
}

fn refuse_open_secrets(source: &source::Source, entries: &[walk::Entry], problems: &mut Vec<Problem>) {
    let secret = |e: &&walk::Entry| {
        let inline = matches!(&e.leaf, walk::Leaf::Text(s) if !s.is_empty());
        inline && schema::KEYS.iter().any(|k| k.path == e.path && k.secret())
    };
    if let Some(entry) = entries.iter().find(secret).filter(|_| source.mode & 0o004 != 0) {
        let mode = source.mode;
        let text =
            format!("{} is a secret in a file that every user of this host can read (mode {mode:04o})", entry.path);
        problems.push(Problem::new(&entry.origin, text).hint(format!("chmod o-rwx {}", source.name())));
    }
}
