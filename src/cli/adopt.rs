//! `lifeboat adopt`: a person's word that the cluster on this host is the one that this store is for.

use std::process::ExitCode;

use serde::Serialize;

use super::args::AdoptArgs;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::MemoryFile;
use crate::catalog::presence;
use crate::core::adopt;
use crate::core::facts::Observed;
use crate::core::model::{ClusterId, Generation};
use crate::core::plan::Voter;
use crate::error::{Error, Kind, Result};
use crate::snapshot::adoption::{Adopter, Found};

/// A younger heartbeat of another life means that both are alive.
const HEARTBEAT_TTL_SECONDS: u64 = 90;

#[derive(Serialize)]
struct Report {
    cluster_id: ClusterId,
    generation: Generation,
    voters: Vec<Voter>,
    /// Whether this call wrote the plan.
    adopted: bool,
}

pub(super) async fn run(wire: &Wire, args: &AdoptArgs, printer: &Printer) -> Result<ExitCode> {
    let (etcd, snapshots, members) = (wire.etcd()?, wire.snapshots()?, wire.voters());
    let settings = wire.settings();
    let adopter = Adopter {
        etcd: etcd.as_ref(),
        snapshots: &snapshots,
        clock: wire.clock.as_ref(),
        node: &settings.node.name,
        configured: &members,
        seed: settings.bootstrap.seed.as_ref(),
        state_dir: &settings.node.state_dir,
    };
    let mut found = adopter.look().await?;
    if let Some(life) = &found.life {
        let voters = adopter.voters().await?;
        let report = Report { cluster_id: found.cluster_id, generation: life.generation, voters, adopted: false };
        printer.report(&report, said)?;
        return Ok(ExitCode::SUCCESS);
    }
    found.seen.remembered = found.seen.remembered.max(remembered(wire)?);
    refuse_beside_another(wire, &found).await?;
    let voters = adopter.voters().await?;
    let generation = adopt::next_generation(&found.seen);
    let location = snapshots.records().store().location();
    render::ask(&question(&found, generation, &voters, &location), args.yes)?;
    let Some(plan) = adopter.adopt(found.cluster_id, generation).await? else {
        return Err(Error::new(Kind::Refused, format!("another host wrote plan {generation} meanwhile"))
            .hint("look at it and type it again if it is still wanted: lifeboat adopt"));
    };
    let report = Report { cluster_id: plan.cluster_id, generation, voters: plan.voters, adopted: true };
    printer.report(&report, said)?;
    Ok(ExitCode::SUCCESS)
}

/// What the gate of this host remembers. A plan below that would be taken for a store that was rolled back. An ordinary user may not look.
fn remembered(wire: &Wire) -> Result<Generation> {
    let file = MemoryFile::new(&wire.settings().bootstrap.state_dir);
    match file.observe() {
        Observed::Known(memory) => Ok(memory.highest_generation),
        Observed::Unknown(cause) => Err(Error::new(
            Kind::Io,
            format!("what this host remembers of its cluster could not be read: {}", cause.text),
        )
        .hint(cause.hint.unwrap_or_else(|| "type it as root: sudo lifeboat adopt".to_owned()))),
    }
}

async fn refuse_beside_another(wire: &Wire, found: &Found) -> Result<()> {
    let records = wire.records()?;
    let beat = presence::heartbeat(&records).await?;
    match beat.filter(|b| b.age_seconds < HEARTBEAT_TTL_SECONDS) {
        None => Ok(()),
        Some(beat) => Err(Error::new(
            Kind::Refused,
            format!(
                "the cluster of generation {} wrote its heartbeat to {} {} s ago, and it is not cluster {} on this host: both are alive",
                beat.generation,
                records.store().location(),
                beat.age_seconds,
                found.cluster_id
            ),
        )
        .hint("give this cluster a folder of its own ([store] with cluster.name), or stop the other one for good and wait two minutes")),
    }
}

fn question(found: &Found, generation: Generation, voters: &[Voter], location: &str) -> String {
    let names: Vec<String> = voters.iter().map(|v| v.name.to_string()).collect();
    let mut text = format!(
        "Cluster {} (voters {}) becomes generation {generation} of {location}: its snapshots are then the ones that a lost host restores.",
        found.cluster_id,
        names.join(", ")
    );
    if let Some(newest) = &found.newest {
        let hosts: Vec<String> = newest.plan.voters.iter().map(|v| v.name.to_string()).collect();
        text.push_str(&format!(
            " Given up is generation {} (cluster {}, voters {}): its snapshots stay and are restored only by name or when there is no newer one, and a \
             host that still has its data is not started on it beside this cluster.",
            newest.plan.generation,
            newest.plan.cluster_id,
            hosts.join(", ")
        ));
    } else if found.seen.snapshots > 0 {
        text.push_str(&format!(
            " The {} snapshot(s) in the store were taken before any plan: those of another cluster would be restored only by name or when there is \
             no newer one.",
            found.seen.snapshots
        ));
    }
    text
}

fn said(r: &Report) -> String {
    let names: Vec<String> = r.voters.iter().map(|v| v.name.to_string()).collect();
    let names = names.join(", ");
    if r.adopted {
        format!(
            "adopted cluster {} as generation {} (voters {names}). The agent of the elected member renews its heartbeat from now on; \
             the next snapshot belongs to this generation: lifeboat save\n",
            r.cluster_id, r.generation
        )
    } else {
        format!("nothing to do: cluster {} (voters {names}) is generation {} already\n", r.cluster_id, r.generation)
    }
}
