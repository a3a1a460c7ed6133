//! The files that the configuration names, and what of them the agent is handed as a credential. Pure.

use std::collections::HashMap;
use std::path::Path;

use crate::config::credentials::{ABSENT, name_of};
use crate::config::{ConfiguredFile, Settings};
use crate::error::{Error, Kind, Result};

use super::machine::{AGENT_USER, Disk};
use super::{AGENT, GATE, Note, syntax};

/// As `CREDENTIALS_DIRECTORY` while the configuration is loaded for a setup: it tells files that are named as
/// credentials from those with a path.
pub const BARE_NAMES: &str = "/run/credentials/named-in-the-configuration";

/// Lines for the agent and for what watches the files.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) load: Vec<String>,
    pub(super) watch: Vec<String>,
    pub(super) notes: Vec<Note>,
}

/// etcd's own certificates may come later (kubeadm makes them); what is ours must be there.
fn may_come_later(file: &ConfiguredFile) -> bool {
    matches!(file.key(), "etcd.ca_file" | "etcd.cert_file" | "etcd.key_file")
}

/// What the agent is given. `image`: there is no host yet, so secrets may be missing.
///
/// # Errors
/// When a secret is missing, or a path cannot be the name of a credential.
pub(super) fn given(settings: &Settings, disk: &dyn Disk, image: bool) -> Result<Given> {
    let mut given = Given::default();
    let mut missing: Vec<&ConfiguredFile> = Vec::new();
    let mut names: HashMap<String, &Path> = HashMap::new();
    for file in settings.named_files() {
        let (key, path) = (file.key(), file.path());
        if let Ok(bare) = path.strip_prefix(BARE_NAMES) {
            let bare = bare.display();
            given.notes.push(Note::plain(format!(
                "{key} is the credential {bare:?}: give it to {AGENT} and {GATE} in a drop-in of your own (LoadCredential=, LoadCredentialEncrypted=)"
            )));
            continue;
        }
        let written = syntax::plain(key, path)?;
        let name = name_of(path).ok_or_else(|| {
            let text = format!(
                "{key}: systemd cannot hand {} to the agent: its path may have no blank, no ':', nothing but ASCII, and at most 255 characters; \
                 nothing was written",
                path.display()
            );
            Error::new(Kind::Config, text).hint(format!("set {key} to a path like that; a symbolic link will do"))
        })?;
        match names.get(&name) {
            Some(other) if *other == path => continue,
            Some(other) => {
                return Err(Error::new(
                    Kind::Config,
                    format!(
                        "{} and {} would be one and the same credential, {name}; nothing was written",
                        other.display(),
                        path.display()
                    ),
                )
                .hint(format!("give the file that {key} names another name")));
            }
            None => names.insert(name.clone(), path),
        };
        if !disk.has_file(path) {
            missing.push(file);
        }
        let name = name.replace('%', "%%");
        given.load.push(format!("LoadCredential={name}:{written}"));
        given.load.push(format!("SetCredential={name}:{ABSENT}"));
        given.watch.push(format!("PathChanged={written}"));
    }
    let (later, needed): (Vec<_>, Vec<_>) = missing.into_iter().partition(|f| image || may_come_later(f));
    if !needed.is_empty() {
        return Err(absent(&needed));
    }
    for file in later {
        given.notes.push(Note::plain(format!(
            "{} ({}) does not exist yet: the agent is given it as soon as it does",
            file.path().display(),
            file.key()
        )));
    }
    Ok(given)
}

fn absent(files: &[&ConfiguredFile]) -> Error {
    let list: Vec<String> = files.iter().map(|f| format!("{} ({})", f.path().display(), f.key())).collect();
    let verb = if files.len() == 1 { "does" } else { "do" };
    let error = Error::new(Kind::Config, format!("{} {verb} not exist; nothing was written", list.join(", ")));
    let token = files.iter().find(|f| f.key() == "cluster.token_file").map(|f| f.path().display());
    error.hint(match token {
        Some(token) => format!(
            "the token is made once for the whole cluster: (umask 077; head -c 32 /dev/urandom | base64 > {token}); copy {token} to the other hosts"
        ),
        None => "create it with mode 0600, owned by root: the agent is handed a copy of it".to_owned(),
    })
}

/// Credentials in the lines of a drop-in.
pub(super) fn loaded(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|l| l.strip_prefix("LoadCredential=")?.split_once(':'));
    names.map(|(name, _)| name.replace("%%", "%")).collect()
}

/// Files that the agent is not given and could not read by itself.
pub(super) fn ungiven(settings: &Settings, drop_in: &str, readable: impl Fn(&Path) -> bool) -> Vec<String> {
    let given = loaded(drop_in);
    let files = settings.named_files().into_iter().filter(|f| !f.path().starts_with(BARE_NAMES));
    files
        .filter(|f| name_of(f.path()).is_none_or(|name| !given.contains(&name)) && !readable(f.path()))
        .map(|f| {
            format!(
                "the agent (user {AGENT_USER}) cannot read {}, which {} names: run 'lifeboat setup' again, which hands it over",
                f.path().display(),
                f.key()
            )
        })
        .collect()
}
