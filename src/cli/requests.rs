//! `lifeboat restore-once`: arms a restore for the next start of etcd, or takes it back.

use std::process::ExitCode;

use serde::Serialize;

use super::args::RestoreOnceArgs;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::{self, MemoryFile, RequestSources, TakenBack};
use crate::catalog::plans::Plans;
use crate::catalog::snapshots::Snapshots;
use crate::core::facts::Request;
use crate::core::manifest::Manifest;
use crate::core::model::{Generation, NodeName, SnapshotName};
use crate::error::{Error, Kind, Result};

#[derive(Serialize)]
struct Armed {
    snapshot: Option<String>,
    id: Option<String>,
    file: String,
    armed: bool,
    /// The plan that was cancelled.
    cancelled: Option<Generation>,
    /// What was taken back, in words.
    taken_back: Vec<String>,
    /// What else asks for a restore: kernel command line, credential.
    also_armed: Vec<Request>,
    /// The other configured hosts, which follow at their next start of etcd.
    others: Vec<NodeName>,
}

pub(super) async fn restore_once(wire: &Wire, args: &RestoreOnceArgs, printer: &Printer) -> Result<ExitCode> {
    let requests = wire.requests();
    let path = requests.file.path().display().to_string();
    let Some(name) = &args.name else {
        return take_it_back(wire, &requests, path, printer).await;
    };
    if let Some(id) = &args.id
        && memory(wire).observe().known().is_some_and(|m| m.consumed.contains(id))
    {
        return Err(Error::new(Kind::Refused, format!("the restore {id} was done on this host, or taken back here"))
            .hint("ask for it with another --id, on every host with the same"));
    }
    // What cannot be restored is refused now, not at the next boot.
    let manifest = saved_as(&wire.snapshots()?, name).await?;
    // "latest" is answered at the next start; the beginning of a name is answered now.
    let name = if name == "latest" { name.clone() } else { manifest.name.to_string() };
    let name = name.as_str();
    let shown = match name {
        "latest" => format!("latest (now {}, revision {})", manifest.name, manifest.revision),
        _ => format!("{name} (revision {})", manifest.revision),
    };
    let id = requests
        .file
        .arm_as(name, args.id.as_deref())
        .map_err(|e| e.context(format!("no restore is armed: cannot write {path}")))?;
    let memory = memory(wire).observe();
    let done = |r: &Request| memory.known().is_some_and(|m| m.consumed.contains(&r.id));
    let also = requests.armed().into_iter().filter(|r| r.id != id && !done(r)).collect();
    let report = Armed {
        snapshot: Some(name.to_owned()),
        id: Some(id),
        file: path,
        armed: true,
        cancelled: None,
        taken_back: Vec::new(),
        also_armed: also,
        others: others(wire),
    };
    let (resets, unit) = (wire.settings().etcd.managed_by.resets_one_node(), &wire.settings().etcd.unit);
    printer.report(&report, |r| {
        let mut text = format!(
            "armed in {}: at the next start of etcd this host restores {shown}, once.\n\
             The data of now is moved aside, not deleted. To take it back: lifeboat restore-once --cancel\n",
            r.file
        );
        if !r.others.is_empty() && resets {
            text.push_str(&format!(
                "One host alone restores it, when all others are stopped for it: on {} type lifeboat restore-once {name} --id {}, then restart {unit} on \
                 every host; it stays down until the restore is done. The first that all others wait for restores, the others join it.\n",
                names(&r.others),
                r.id.as_deref().unwrap_or_default()
            ));
        } else if !r.others.is_empty() {
            text.push_str(&format!(
                "It rolls the WHOLE cluster back: this host writes a plan when it starts, and {} follow(s) it, each at its own next start of etcd \
                 (nothing is to be armed there). Until a majority of the {} hosts has followed, the restored cluster does not serve; one that has \
                 not been restarted goes on with the data of now. So restart etcd here first, then on the others, one after the other.\n",
                names(&r.others),
                r.others.len() + 1
            ));
        }
        for other in &r.also_armed {
            text.push_str(&format!(
                "note: {} asks for a restore of {:?}, too (id {}); the file comes first, and that one then counts as done\n",
                other.found_in, other.snapshot, other.id
            ));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The snapshot of that name; and if there is none, the newest of those that `lifeboat save --name NAME` has made, so that both commands can be
/// typed before the name of the snapshot is known. A newer one of them that cannot be trusted is not passed over.
async fn saved_as(snapshots: &Snapshots, name: &str) -> Result<Manifest> {
    let missing = match snapshots.resolve(name).await {
        Err(e) if e.kind() == Kind::NotFound && name != "latest" => e,
        done => return done,
    };
    let listing = snapshots.list().await?;
    let made = |m: &&Manifest| SnapshotName::from_start(name, m.started).is_ok_and(|n| m.name.is_or_follows(&n));
    let made = listing.committed().map(|c| &c.manifest).filter(made);
    let Some(newest) = made.max_by(|a, b| (a.started, &a.name).cmp(&(b.started, &b.name))) else {
        return Err(missing);
    };
    let beginning = format!("{name}-");
    let newer = listing.entries.iter().filter(|e| e.name > newest.name && e.name.as_str().starts_with(&beginning));
    match newer.filter_map(|e| Some((&e.name, e.state.as_ref().err()?))).next_back() {
        None => Ok(newest.clone()),
        Some((broken, problem)) => Err(Error::new(
            Kind::Verification,
            format!("{broken}, the newest one that {name:?} may mean, cannot be restored: {problem}"),
        )
        .hint(format!("to have the one before it, name it: lifeboat restore-once {}", newest.name))),
    }
}

fn others(wire: &Wire) -> Vec<NodeName> {
    let settings = wire.settings();
    settings.cluster.members.iter().map(|m| m.name.clone()).filter(|name| *name != settings.node.name).collect()
}

fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn memory(wire: &Wire) -> MemoryFile {
    MemoryFile::new(&wire.settings().bootstrap.state_dir)
}

async fn take_it_back(wire: &Wire, requests: &RequestSources, path: String, printer: &Printer) -> Result<ExitCode> {
    let armed = requests.armed();
    // First what is armed here: it needs no store, and a host that waits for the store because of it goes on.
    let done = requests.take_back(&memory(wire))?;
    let plans = Plans::new(wire.records()?);
    let unknown = |e: Error| {
        e.context(format!(
            "nothing is armed on this host any more (not in {path} either), but whether the store holds a plan for that restore, which this host \
             would follow at a later start, could not be found out"
        ))
        .hint("type it again when the store answers: lifeboat restore-once --cancel")
    };
    let node = &wire.settings().node.name;
    let mut taken = bootstrap::take_back(&plans, node, wire.clock.now()).await.map_err(unknown)?;
    if taken == TakenBack::Nothing && !armed.is_empty() {
        // A gate that was about to write the plan when it was taken back may have done so since.
        let through = bootstrap::gates_are_through(&wire.settings().bootstrap.state_dir).await;
        taken = bootstrap::take_back(&plans, node, wire.clock.now()).await.map_err(unknown)?;
        if let Err(e) = &through {
            render::warn(&format!("whether a gate is at work on this host is not known: {}", e.one_line()));
        } else if matches!(through, Ok(false)) {
            render::warn(
                "'lifeboat bootstrap' is still at work on this host. It writes no plan for what was taken back; when it has ended, \
                 'lifeboat bootstrap --dry-run' shows the newest plan",
            );
        }
    }
    let cancelled = match taken {
        TakenBack::Plan(generation) => Some(generation),
        TakenBack::TooLate(generation) => {
            let (request, behind) = behind(&plans, generation).await?;
            if !behind.is_empty() {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "too late: so many hosts have followed plan {generation} that its cluster may serve already; {} will follow at the next start of etcd",
                        behind.join(", ")
                    ),
                )
                .hint("to have the data of before again, restore a snapshot of it: 'lifeboat ls', then lifeboat restore-once NAME"));
            }
            if armed.iter().any(|r| Some(&r.id) == request.as_ref()) {
                let hint = if others(wire).is_empty() {
                    "the data of before was moved aside: lifeboat quarantine ls".to_owned()
                } else {
                    "a majority of the hosts has followed it, and the others must too (next start of etcd). The data of before was moved aside on \
                         each: lifeboat quarantine ls. What was saved before is still there: lifeboat ls"
                        .to_owned()
                };
                return Err(Error::new(
                    Kind::Refused,
                    format!("too late: the restore has been done, or is being done, as plan {generation}"),
                )
                .hint(hint));
            }
            None
        }
        TakenBack::Nothing => None,
    };
    let report = Armed {
        snapshot: None,
        id: None,
        file: path,
        armed: false,
        cancelled,
        taken_back: done,
        also_armed: Vec::new(),
        others: others(wire),
    };
    printer.report(&report, |r| {
        let mut parts: Vec<String> = r.cancelled.iter().map(|g| format!("plan {g} is cancelled")).collect();
        parts.extend(r.taken_back.iter().cloned());
        if parts.is_empty() {
            return format!("nothing was armed in {}, on the kernel command line or in a credential\n", r.file);
        }
        let mut text = format!("taken back: {}. The next start of etcd restores nothing\n", parts.join("; "));
        if r.cancelled.is_some() && !r.others.is_empty() {
            text.push_str(
                "A host that had followed the plan already gets its data of before back at its next start of etcd: restart etcd there.\n",
            );
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a plan was asked for by, and which of its hosts have not followed it.
async fn behind(plans: &Plans, generation: Generation) -> Result<(Option<String>, Vec<String>)> {
    let Some(plan) = plans.plan(generation).await? else { return Ok((None, Vec::new())) };
    let mut behind = Vec::new();
    for voter in &plan.voters {
        if plans.mark(generation, &voter.name).await?.is_none() {
            behind.push(voter.name.to_string());
        }
    }
    Ok((plan.request, behind))
}
