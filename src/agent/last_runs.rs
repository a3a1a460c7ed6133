//! The last slot that each schedule ran, across restarts: what makes a missed run be caught up once, and none be run twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::core::model::Timestamp;
use crate::error::{Kind, Result, ResultExt};
use crate::sys::fs;

const FILE: &str = "last-runs.json";

/// The file, and what is in it.
pub(super) struct LastRuns {
    path: PathBuf,
    slots: Mutex<HashMap<String, Timestamp>>,
}

impl LastRuns {
    /// Reads the file. One that is missing or damaged means that nothing is known: the next slots run as usual.
    pub(super) fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let slots = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        LastRuns { path, slots: Mutex::new(slots) }
    }

    pub(super) fn all(&self) -> HashMap<String, Timestamp> {
        self.slots.lock().map(|slots| slots.clone()).unwrap_or_default()
    }

    /// Remembers that a slot was run.
    pub(super) fn ran(&self, schedule: &str, slot: Timestamp) -> Result<()> {
        let slots = {
            let Ok(mut slots) = self.slots.lock() else { return Ok(()) };
            slots.insert(schedule.to_owned(), slot);
            slots.clone()
        };
        let text = serde_json::to_vec_pretty(&slots).or_fail(Kind::Internal, || "cannot write down the last runs")?;
        fs::write_atomic(&self.path, &text, 0o600)
    }
}
