//! `lifeboat declare-lost`: a person's word that the newest life of the cluster is gone for good.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::args::DeclareLostArgs;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::catalog::plans::Plans;
use crate::catalog::presence;
use crate::catalog::records::{Created, Records};
use crate::catalog::snapshots::Snapshots;
use crate::core::facts::PlanFacts;
use crate::core::model::{Generation, SnapshotName};
use crate::core::plan::{PersonsWord, Voter};
use crate::error::{Error, Kind, Result};
use crate::ports::{Etcd, Peer};
use crate::sys::random;

/// A life whose heartbeat is younger is alive.
const HEARTBEAT_TTL_SECONDS: u64 = 90;
/// A member that says nothing within this time does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Report {
    generation: Generation,
    /// Who votes in it, as far as that is recorded.
    voters: Vec<Voter>,
    /// What a restore would begin with.
    latest: Option<SnapshotName>,
    /// Whether this call recorded it; otherwise somebody had before.
    recorded: bool,
}

pub(super) async fn run(wire: &Wire, args: &DeclareLostArgs, printer: &Printer) -> Result<ExitCode> {
    if args.reason.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "--reason is empty").hint("say why, for those who read the record later"));
    }
    let records = wire.records()?;
    let location = records.store().location();
    let plans = Plans::new(records.clone());
    let (_, newest) = plans.history(Generation(0)).await?;
    let Some(newest) = newest else {
        let text = format!("{location} has no plan, so there is no life of the cluster to declare lost");
        return Err(Error::new(Kind::NotFound, text)
            .hint("check bucket and folder with: lifeboat config show; what a boot would do now: lifeboat bootstrap --dry-run"));
    };
    let generation = newest.plan.generation;
    let voters = newest.voters.last().map_or(&newest.plan.voters, |r| &r.voters).clone();
    let listing = Snapshots::new(records.clone()).list().await?;
    let latest = listing.latest().map(|c| &c.manifest);
    let report =
        |recorded| Report { generation, voters: voters.clone(), latest: latest.map(|m| m.name.clone()), recorded };
    if newest.lost {
        printer.report(&report(false), said)?;
        return Ok(ExitCode::SUCCESS);
    }
    refuse_the_living(wire, &records, &newest).await?;
    let given_up = match latest {
        Some(m) => format!(
            "What was written after the latest snapshot ({}, revision {}, {} ago) is given up",
            m.name,
            m.revision,
            render::age(m.started, wire.clock.now())
        ),
        None => "There is no snapshot in the store, so ALL of its data is given up".to_owned(),
    };
    let hosts: Vec<String> = voters.iter().map(|v| v.name.to_string()).collect();
    render::ask(
        &format!(
            "Generation {generation} (voters {}) will count as gone for good, in {location}, and that cannot be taken back. {given_up}: if one of \
             these hosts still holds its data, save it first (start etcd there, lifeboat save --name survivor).",
            hosts.join(", ")
        ),
        args.yes,
    )?;
    let word = PersonsWord {
        generation,
        by: wire.settings().node.name.clone(),
        reason: args.reason.clone(),
        at: wire.clock.now(),
        nonce: random::nonce()?,
    };
    let created = plans.declare_lost(&word).await?;
    printer.report(&report(created == Created::Ours), said)?;
    Ok(ExitCode::SUCCESS)
}

fn said(r: &Report) -> String {
    if !r.recorded {
        return format!("generation {} was declared lost before\n", r.generation);
    }
    let next = match &r.latest {
        Some(name) => format!("They restore the best snapshot (now {name})"),
        None => "There is no snapshot to restore, so they ask for a person's word again".to_owned(),
    };
    format!(
        "generation {} is declared lost. Hosts that wait at boot look again within seconds and need no recorded voters of it any more, only a \
         majority of cluster.members. {next}\n",
        r.generation
    )
}

/// What is seen alive is not lost, whatever a person believes.
async fn refuse_the_living(wire: &Wire, records: &Records, newest: &PlanFacts) -> Result<()> {
    let generation = newest.plan.generation;
    let beat = presence::heartbeat(records).await?;
    if let Some(beat) = beat.filter(|b| b.generation == generation && b.age_seconds < HEARTBEAT_TTL_SECONDS) {
        let text = format!("generation {generation} wrote its heartbeat {} s ago: it is alive", beat.age_seconds);
        return Err(Error::new(Kind::Refused, text).hint(
            "stop its members for good first, then wait two minutes; to go back to a snapshot instead: lifeboat restore-once NAME",
        ));
    }
    let asked = wire.client_endpoints()?.into_iter().map(|etcd: Arc<dyn Etcd>| async move {
        let status = tokio::time::timeout(ANSWER_LIMIT, etcd.status()).await.ok()?.ok()?;
        Some((etcd.endpoint().to_owned(), status.cluster_id))
    });
    // A survivor without quorum serves no clients, and holds the data all the same.
    let ports = wire.all_peer_ports().into_iter().map(|port: Arc<dyn Peer>| async move {
        let answer = tokio::time::timeout(ANSWER_LIMIT, port.ask()).await.ok()?.ok()?;
        Some((port.url().to_owned(), answer.cluster_id))
    });
    let (clients, ports) = tokio::join!(join_all(asked), join_all(ports));
    let answers = clients.into_iter().chain(ports).flatten();
    let of_it: Vec<String> =
        answers.filter(|(_, id)| *id == newest.plan.cluster_id).map(|(endpoint, _)| endpoint).collect();
    if of_it.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Refused,
        format!("members of generation {generation} answer ({}): their data is newer than any snapshot", of_it.join(", ")),
    )
    .hint("bring the others back; if they are lost, save there ('lifeboat save --name survivor') then 'lifeboat restore-once survivor', and restart etcd there"))
}
