//! From the settings, and how etcd starts, to the drop-ins and what a person should know. Pure.

use crate::config::{ManagedBy, Settings};
use crate::error::Result;

use super::judge::judge;
use super::machine::Disk;
use super::start::Start;
use super::{AGENT, FIRST_LINE, GATE, Note, WATCH, named_files, syntax, writable};

const WRITES: &str = "What lifeboat.toml names outside of what the unit may write by itself.";
const HANDED: &str =
    "Files that lifeboat.toml names. One that is missing is replaced by a blank, which the agent takes for missing.";
const WATCHED: &str = "The same files: when one changes, the agent is started again.";
const WAITS: &str = "This unit waits for the gate of etcd. In the worst hour: rm this file, systemctl daemon-reload, and start the unit.";

/// A gate that was killed, or that systemd could not even start, would leave etcd down for good: whatever requires a unit that failed once is
/// not started when it succeeds later. A stop by SIGTERM stays one.
const AGAIN: [&str; 4] =
    ["Restart=on-abnormal", "RestartMode=direct", "RestartSec=2s", "RestartPreventExitStatus=SIGTERM SIGINT SIGHUP"];

/// A file that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DropIn {
    /// Whose.
    pub(super) unit: String,
    /// The whole file.
    pub(super) content: String,
}

/// All of them, in the order in which they are to be written: etcd's last, when the gate has what it needs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) files: Vec<DropIn>,
    pub(super) notes: Vec<Note>,
}

/// The host that the drop-ins are for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Host {
    /// It is still to be made.
    pub(super) image: bool,
    /// Its systemd (254 and newer) can restart a unit without failing those that wait for it.
    pub(super) restarts_directly: bool,
}

/// The drop-ins that these settings call for.
///
/// # Errors
/// When a secret is missing, etcd's unit contradicts the configuration, or a path cannot be written into a unit file.
pub(super) fn plan(settings: &Settings, start: Option<&Start>, disk: &dyn Disk, host: Host) -> Result<Plan> {
    let judged = judge(settings, start, disk)?;
    let given = named_files::given(settings, disk, host.image)?;
    let gate = writable::of_the_gate(settings, disk)?;
    let agent = writable::of_the_agent(settings, disk)?;
    let read_write = |words: &[String]| (!words.is_empty()).then(|| format!("ReadWritePaths={}", words.join(" ")));

    let mut files = Vec::new();
    let mut add = |unit: &str, says: &str, sections: &[(&str, Vec<String>)]| {
        let mut content = String::new();
        for (section, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
            content.push_str(&format!("[{section}]\n{}\n", lines.join("\n")));
        }
        if !content.is_empty() {
            files.push(DropIn { unit: unit.to_owned(), content: format!("{FIRST_LINE}\n# {says}\n{content}") });
        }
    };
    let mounts = gate.mounts.join(" ");
    let after = if mounts.is_empty() { Vec::new() } else { vec![format!("Wants={mounts}"), format!("After={mounts}")] };
    let again = host.restarts_directly.then_some(AGAIN).into_iter().flatten().map(str::to_owned);
    add(GATE, WRITES, &[("Unit", after), ("Service", read_write(&gate.words).into_iter().chain(again).collect())]);
    add(AGENT, HANDED, &[("Service", given.load.into_iter().chain(read_write(&agent.words)).collect())]);
    add(WATCH, WATCHED, &[("Path", given.watch)]);
    let mut environment = Vec::new();
    if judged.give_environment && settings.etcd.managed_by == ManagedBy::Systemd {
        let path = syntax::plain("etcd.environment_file", &settings.etcd.environment_file)?;
        environment.push(format!("EnvironmentFile=-{path}"));
        // As root, whoever etcd is; and nothing that fails here is worth an etcd.
        environment.push("ExecStartPost=-+/usr/bin/lifeboat bootstrap --started".to_owned());
    }
    let gated = vec![format!("Requires={GATE}"), format!("After={GATE}")];
    add(&settings.etcd.unit, WAITS, &[("Unit", gated), ("Service", environment)]);
    let notes = [judged.notes, given.notes, gate.notes, agent.notes].concat();
    Ok(Plan { files, notes })
}
