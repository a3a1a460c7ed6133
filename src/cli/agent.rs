//! `lifeboat agent`: the daemon, wired from the configuration.

use std::process::ExitCode;

use super::wire::{Wire, start_logging};
use crate::agent::scheduler::Planned;
use crate::agent::{self, Job, Parts};
use crate::core::schedule;
use crate::error::Result;
use crate::sys::notify::Notify;

pub(super) async fn run(wire: &Wire) -> Result<ExitCode> {
    start_logging(wire)?;
    let load = || Wire::new(wire.path.as_deref()).and_then(|new| parts(&new));
    agent::run(parts(wire)?, load, Notify::new()).await?;
    Ok(ExitCode::SUCCESS)
}

fn parts(wire: &Wire) -> Result<Parts> {
    let settings = wire.settings();
    let node = settings.node.name.clone();
    let jobs = settings
        .schedules
        .iter()
        .map(|s| Job {
            planned: Planned {
                name: s.name.clone(),
                schedule: s.schedule.clone(),
                jitter: schedule::jitter(node.as_str(), &s.name, s.jitter),
            },
            run_on: s.run_on,
            compression: s.compression,
        })
        .collect();
    let etcd = wire.local_member()?;
    Ok(Parts {
        effort: wire.effort(),
        node,
        state_dir: settings.node.state_dir.clone(),
        jobs,
        members: wire.voters(),
        seed: settings.bootstrap.seed.clone(),
        etcd: etcd.clone(),
        election: etcd.clone(),
        election_prefix: settings.etcd.election_prefix.clone(),
        learners: etcd,
        snapshots: wire.snapshots()?,
        spool: wire.spool()?,
        clock: wire.clock.clone(),
    })
}
