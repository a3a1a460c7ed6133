//! Units and the journal of a host.

use std::collections::BTreeMap;
use std::time::Duration;

use super::host::Host;

/// What `systemctl show` says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState(BTreeMap<String, String>);

impl UnitState {
    /// Any property, by systemd's name; empty when there is none.
    pub fn get(&self, property: &str) -> &str {
        self.0.get(property).map_or("", String::as_str)
    }

    /// `active`, `inactive`, `activating`, `failed`, ...
    pub fn active(&self) -> &str {
        self.get("ActiveState")
    }

    /// `running`, `dead`, `start`, `auto-restart`, ...
    pub fn sub(&self) -> &str {
        self.get("SubState")
    }

    /// `success`, `exit-code`, `dependency`, `watchdog`, ...
    pub fn result(&self) -> &str {
        self.get("Result")
    }

    /// 0 when it has none.
    pub fn main_pid(&self) -> u32 {
        self.get("MainPID").parse().unwrap_or(0)
    }

    /// What the service said with STATUS=.
    pub fn status_text(&self) -> &str {
        self.get("StatusText")
    }

    /// How often systemd has restarted it by itself.
    pub fn restarts(&self) -> u32 {
        self.get("NRestarts").parse().unwrap_or(0)
    }
}

impl Host {
    #[track_caller]
    pub fn unit_state(&self, unit: &str) -> UnitState {
        let shown = self.ok(&format!("systemctl show --no-pager '{unit}'"));
        UnitState(shown.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// Waits until the unit's ActiveState is this, and returns all of its state.
    #[track_caller]
    pub fn wait_unit(&self, unit: &str, active: &str, limit: Duration) -> UnitState {
        self.wait_for(&format!("{unit} to be {active}"), limit, |host| {
            Some(host.unit_state(unit)).filter(|state| state.active() == active)
        })
    }

    /// `journalctl` with these arguments; `-o short-precise` unless they say otherwise.
    pub fn journal(&self, args: &str) -> String {
        let output = self.run(&format!("journalctl --no-pager --quiet -o short-precise {args}"));
        if output.success() { output.stdout } else { output.to_string() }
    }

    /// The journal's records of this boot that match, as JSON: `journal_records("-u lifeboat")`.
    #[track_caller]
    pub fn journal_records(&self, args: &str) -> Vec<serde_json::Value> {
        let text = self.ok(&format!("journalctl --no-pager --quiet -b -o json {args}"));
        text.lines().map(|line| serde_json::from_str(line).expect("a record of the journal")).collect()
    }
}
