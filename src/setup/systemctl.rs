//! Asks the running systemd about units, and lets it read their files again. It starts and stops nothing.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::sys::exec;

use super::show::{self, Shown};
use super::start::EtcdUnit;
use super::{AGENT, GATE, Note, WATCH};

/// systemd answers in milliseconds; a host that is starting or out of memory takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// First release of systemd with `RestartMode=direct`.
const RESTARTS_DIRECTLY: u32 = 254;

/// What was found out about the units.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// How etcd's unit starts it; `None`: there is no such unit (yet).
    pub(super) etcd: Option<EtcdUnit>,
    /// Whether the gate's unit is there.
    pub(super) gate_installed: bool,
    /// Whether the gate is at work now, and etcd waits for it.
    pub(super) gate_runs: bool,
    /// Whether the agent is running.
    pub(super) agent_runs: bool,
    /// Whether this systemd can restart a unit without failing those that wait for it.
    pub(super) restarts_directly: bool,
    /// Whether files of these units have changed since systemd read them.
    pub(super) needs_reload: bool,
    /// What a person should know.
    pub(super) notes: Vec<Note>,
}

/// Whether systemd runs this host.
pub(super) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

async fn systemctl(args: &[&str]) -> Result<String> {
    let out = exec::run("systemctl", args, LIMIT).await?;
    if out.code == Some(0) {
        return Ok(out.stdout);
    }
    let said = out.stderr.trim().replace('\n', "; ");
    let code = out.code.map_or_else(|| "a signal".to_owned(), |c| format!("exit code {c}"));
    Err(Error::new(Kind::Io, format!("systemctl {} ended with {code}: {said}", args.join(" ")))
        .hint(format!("try it by hand: systemctl {}", args.join(" "))))
}

/// Lets systemd read all unit files again.
///
/// # Errors
/// When it refuses or does not answer.
pub(super) async fn daemon_reload() -> Result<()> {
    systemctl(&["daemon-reload"]).await.map(drop).map_err(|e| {
        let hint = "the files are written; systemctl daemon-reload makes them count";
        e.context("systemd has not loaded the drop-ins").hint(hint)
    })
}

/// Whether the gate is at work now, and etcd waits for it.
///
/// # Errors
/// When systemd does not answer.
pub(super) async fn gate_runs() -> Result<bool> {
    Ok(systemctl(&["show", "--property=ActiveState", "--", GATE]).await?.trim() == "ActiveState=activating")
}

/// Ends a gate that is at work, by a signal: what waits for it is then not started. Without that, an etcd whose drop-in
/// is removed starts in the same moment, on whatever its data dir holds.
///
/// # Errors
/// When it does not end.
pub(super) async fn end_gate() -> Result<()> {
    // systemd may start one that was killed again; that one can still be ended in good order.
    for signal in ["SIGTERM", "SIGKILL", "SIGTERM"] {
        systemctl(&["kill", &format!("--signal={signal}"), "--", GATE]).await?;
        for _ in 0..100 {
            if !gate_runs().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Err(Error::new(
        Kind::Io,
        format!("{GATE} does not end, and etcd would start as soon as it no longer has to wait; nothing was removed"),
    )
    .hint(format!("systemctl kill -s KILL {GATE}, then type the same again")))
}

/// What systemd knows about etcd's unit and ours.
///
/// # Errors
/// When systemd does not run this host, or does not answer.
pub(super) async fn observe(unit: &str) -> Result<Units> {
    if !is_running() {
        return Err(Error::new(Kind::Refused, "systemd does not run here (there is no /run/systemd/system)")
            .hint("for an image or a container that is being built: lifeboat setup --root /"));
    }
    let properties = format!("--property={}", show::PROPERTIES.join(","));
    let text = systemctl(&["show", &properties, "--", unit, GATE, AGENT, WATCH]).await?;
    let shown = show::parse(&text);
    let [etcd, gate, agent, watch] = &shown[..] else {
        return Err(Error::new(Kind::Io, format!("systemctl show told of {} units instead of 4", shown.len()))
            .hint(format!("try it by hand: systemctl show {unit} {GATE} {AGENT} {WATCH}")));
    };
    let mut units = Units {
        etcd: (etcd.get("LoadState") == "loaded").then(|| etcd.etcd_unit()),
        gate_installed: gate.get("LoadState") == "loaded",
        gate_runs: gate.get("ActiveState") == "activating",
        agent_runs: matches!(agent.get("ActiveState"), "active" | "activating" | "reloading"),
        restarts_directly: show::major(&systemctl(&["show", "--property=Version"]).await?)
            .is_some_and(|major| major >= RESTARTS_DIRECTLY),
        needs_reload: [etcd, gate, agent, watch].iter().any(|u| u.get("NeedDaemonReload") == "yes"),
        notes: Vec::new(),
    };
    if units.etcd.is_none() {
        units.notes.push(missing(unit, etcd).await);
    }
    Ok(units)
}

/// How etcd's unit starts it; `None`: there is no such unit.
///
/// # Errors
/// When systemd does not answer.
pub(super) async fn etcd_unit(unit: &str) -> Result<Option<EtcdUnit>> {
    let properties = format!("--property={}", show::PROPERTIES.join(","));
    let shown = show::parse(&systemctl(&["show", &properties, "--", unit]).await?);
    Ok(shown.first().filter(|u| u.get("LoadState") == "loaded").map(Shown::etcd_unit))
}

async fn missing(unit: &str, shown: &Shown) -> Note {
    match shown.get("LoadState") {
        "masked" => Note::warning(format!("{unit} is masked, so nothing starts it: systemctl unmask {unit}")),
        "not-found" => {
            let mut text = format!("there is no {unit}");
            let near = near(unit).await;
            if !near.is_empty() {
                text.push_str(&format!(" (is {} meant?)", near.join(" or ")));
            }
            text.push_str(": set etcd.unit to the unit that starts etcd; if it is still to be installed, run 'lifeboat setup' again then, so that its flags are looked at");
            Note::warning(text)
        }
        other => Note::warning(format!("systemd could not load {unit} ({other}): systemctl status {unit}")),
    }
}

/// Units of this host that may have been meant.
async fn near(unit: &str) -> Vec<String> {
    let list = systemctl(&["list-unit-files", "--type=service", "--no-legend", "--no-pager"]).await.unwrap_or_default();
    let names = list.lines().filter_map(|l| l.split_whitespace().next());
    candidates(unit, names)
}

/// Two names that may be one, misspelled.
const ALIKE: f64 = 0.8;

/// The names that are most like `unit`, or that usually start etcd.
pub(super) fn candidates<'a>(unit: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let usual = |n: &str| n.starts_with("etcd") || matches!(n, "k3s.service" | "rke2-server.service");
    let mut found: Vec<(bool, f64, &str)> = names
        .map(|n| (usual(n), strsim::normalized_damerau_levenshtein(unit, n), n))
        .filter(|(usual, likeness, n)| (*usual || *likeness >= ALIKE) && *n != unit)
        .collect();
    found.sort_by(|a, b| (b.1 >= ALIKE).cmp(&(a.1 >= ALIKE)).then(b.0.cmp(&a.0)).then(b.1.total_cmp(&a.1)));
    found.into_iter().take(3).map(|(_, _, n)| n.to_owned()).collect()
}
