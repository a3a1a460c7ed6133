//! `lifeboat save`, `ls`, `get`, `delete` and `verify`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use super::args::{CompressionArg, DeleteArgs, GetArgs, LsArgs, SaveArgs, VerifyArgs};
use super::progress::Progress;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::catalog::snapshots::Snapshots;
use crate::core::manifest::Origin;
use crate::core::model::{Compression, Generation, SnapshotName};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::Etcd;
use crate::snapshot::adoption::{Adopter, Adoption, adopted};
use crate::snapshot::commands::{self, Deleted, LsReport, LsRow, Place, SaveReport};
use crate::snapshot::life;
use crate::snapshot::save::SaveRequest;
use crate::snapshot::verify::VerifyReport;

/// A snapshot does not wait longer than this for the adoption of its cluster.
const ADOPTION_LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn save(wire: &Wire, args: &SaveArgs, printer: &Printer) -> Result<ExitCode> {
    SnapshotName::new(&args.name)
        .or_fail(Kind::Usage, || "--name cannot be the beginning of a snapshot's name")
        .map_err(|e| e.hint("such as: lifeboat save --name before-upgrade"))?;
    let (etcd, snapshots, spool) = (wire.etcd()?, wire.snapshots()?, wire.spool()?);
    let configured = wire.settings().schedules.first().map(|s| s.compression).unwrap_or_default();
    let (life, adoption) = generation(wire, etcd.as_ref(), &snapshots).await?;
    let request = SaveRequest {
        prefix: args.name.clone(),
        origin: Origin::OnDemand,
        compression: args.compression.map_or(configured, |c| match c {
            CompressionArg::Gzip => Compression::Gzip,
            CompressionArg::Zstd => Compression::Zstd,
            CompressionArg::None => Compression::None,
        }),
        ships: !args.no_ship,
        effort: wire.effort(),
        generation: life,
        node: wire.settings().node.name.clone(),
        tags: BTreeMap::new(),
        hash_check: args.hash,
        newest_known: None,
    };
    let progress = Progress::new("shipping", wire.clock.clone());
    let told = progress.clone();
    let mut report = if args.no_ship {
        commands::save_only(etcd.as_ref(), &snapshots, wire.clock.as_ref(), &spool, &request).await?
    } else {
        commands::save(etcd.as_ref(), &snapshots, wire.clock.as_ref(), &spool, &request, &move |_, done| {
            told.at(done, 0)
        })
        .await?
    };
    progress.end();
    report.warnings.extend(adoption);
    report.warnings.extend(unknown_voters(wire, &report));
    printer.report(&report, saved)?;
    match report.ship_error {
        // The snapshot is safe in the spool; the exit code says that the store has not got it.
        Some(e) => {
            let hint = e.hint_text().map(str::to_owned);
            let name = &report.manifest.name;
            let wrapped = Error::new(
                e.kind(),
                format!("snapshot {name} is whole in the spool, and the store has not got it yet"),
            )
            .caused_by(e);
            Err(wrapped.hint(hint.unwrap_or_else(|| {
                "the agent ships it as soon as the store answers; or type: lifeboat save again".into()
            })))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The life of the member's cluster; one that is in no plan is adopted before its first snapshot, where that needs nobody's word. With what to
/// say about that.
async fn generation(wire: &Wire, etcd: &dyn Etcd, snapshots: &Snapshots) -> Result<(Generation, Option<String>)> {
    let (settings, members) = (wire.settings(), wire.voters());
    let labelled = life::of_member(etcd, snapshots, &settings.node.state_dir).await?;
    if labelled > Generation(0) {
        return Ok((labelled, None));
    }
    let adopter = Adopter {
        etcd,
        snapshots,
        clock: wire.clock.as_ref(),
        node: &settings.node.name,
        configured: &members,
        seed: settings.bootstrap.seed.as_ref(),
        state_dir: &settings.node.state_dir,
    };
    Ok(match tokio::time::timeout(ADOPTION_LIMIT, adopter.by_itself()).await {
        Ok(Ok(Adoption::Known(life))) => (life.generation, None),
        Ok(Ok(Adoption::Adopted(plan))) => {
            render::note(&adopted(&plan));
            (plan.generation, None)
        }
        Ok(Ok(Adoption::Left(id, why))) => (
            labelled,
            Some(format!(
                "cluster {id} has no generation: {why}; if it is the right one for this store: lifeboat adopt"
            )),
        ),
        // A snapshot that is safe comes first; the agent adopts when store and quorum are there.
        Ok(Err(e)) => (labelled, Some(format!("the cluster has no generation yet: {}", e.one_line()))),
        Err(_) => (labelled, Some("the cluster has no generation yet: store or etcd took too long".to_owned())),
    })
}

/// A restore waits for ever for hosts that are not configured: better said now than then.
fn unknown_voters(wire: &Wire, report: &SaveReport) -> Option<String> {
    let members = &wire.settings().cluster.members;
    let voters = report.manifest.voters.iter().map(|v| v.name.as_str());
    let unknown: Vec<&str> = voters.filter(|name| members.iter().all(|m| m.name.as_str() != *name)).collect();
    (!unknown.is_empty()).then(|| {
        format!(
            "etcd's members {} are not in cluster.members; the gate would not restore this snapshot by itself: give both the same names",
            unknown.join(", ")
        )
    })
}

fn saved(report: &SaveReport) -> String {
    let m = &report.manifest;
    let mut text = render::fields(&[
        ("snapshot", m.name.to_string()),
        ("revision", m.revision.to_string()),
        ("size", format!("{} ({} as {})", render::bytes(m.raw.size), render::bytes(m.stored.size), m.compression)),
        ("etcd", format!("{} member {} of cluster {}", m.etcd_version, m.member_id, m.cluster_id)),
        ("took", format!("{:.1} s", report.seconds)),
        ("in the store", if report.shipped { "yes".into() } else { "no: it waits in the spool".into() }),
        ("local copy", report.payload.display().to_string()),
    ]);
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

pub(super) async fn ls(wire: &Wire, args: &LsArgs, printer: &Printer) -> Result<ExitCode> {
    let snapshots = wire.snapshots()?;
    let spool = if args.remote { None } else { Some(wire.spool()?) };
    let report = commands::ls(&snapshots, spool.as_ref(), !args.local).await?;
    let now = wire.clock.now();
    printer.report(&report, |r| listing(r, now, &snapshots.records().store().location()))?;
    Ok(ExitCode::SUCCESS)
}

fn listing(report: &LsReport, now: crate::core::model::Timestamp, location: &str) -> String {
    let mut text = if report.rows.is_empty() {
        format!("no snapshots in {location}\n")
    } else {
        render::table(
            &["NAME", "REVISION", "GENERATION", "AGE", "SIZE", "STORED", "NODE", "WHERE", "STATUS"],
            report.rows.iter().map(|row| line(row, now)),
        )
    };
    if report.uncommitted > 0 {
        text.push_str(&format!(
            "{} upload(s) without a manifest: in progress, or broken off; not counted\n",
            report.uncommitted
        ));
    }
    if report.foreign > 0 {
        text.push_str(&format!("{} object(s) that are not ours; left alone\n", report.foreign));
    }
    for problem in &report.problems {
        text.push_str(&format!("warning: {problem}\n"));
    }
    for hint in &report.hints {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

fn line(row: &LsRow, now: crate::core::model::Timestamp) -> Vec<String> {
    let place = match row.place {
        Place::Store => "store",
        Place::Spool => "spool",
        Place::Both => "store, spool",
    };
    let status = if row.held { format!("{}, held", row.status) } else { row.status.clone() };
    let mut cells = vec![row.name.to_string()];
    match &row.facts {
        Some(f) => cells.extend([
            f.revision.to_string(),
            f.generation.to_string(),
            render::age(f.started, now),
            render::bytes(f.raw_size),
            render::bytes(f.stored_size),
            f.node.to_string(),
        ]),
        None => cells.extend(std::iter::repeat_n("-".to_owned(), 6)),
    }
    cells.extend([place.to_owned(), status]);
    cells
}

pub(super) async fn get(wire: &Wire, args: &GetArgs, printer: &Printer) -> Result<ExitCode> {
    let snapshots = wire.snapshots()?;
    let progress = Progress::new("fetching", wire.clock.clone());
    let told = progress.clone();
    let got = commands::get(&snapshots, &args.name, args.file.as_deref(), move |done| told.at(done, 0)).await;
    progress.end();
    printer.report(&got?, |g| format!("{} -> {} ({}), verified", g.name, g.file.display(), render::bytes(g.size)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn delete(wire: &Wire, args: &DeleteArgs, printer: &Printer) -> Result<ExitCode> {
    let snapshots = wire.snapshots()?;
    let location = snapshots.records().store().location();
    render::ask(&format!("Delete {} from {location} for good?", args.names.join(", ")), args.yes)?;
    let mut done: Vec<Deleted> = Vec::new();
    for name in &args.names {
        done.push(commands::delete(&snapshots, name, false).await?);
    }
    printer.report(&done, |done| done.iter().map(|d| format!("deleted {}\n", d.name)).collect())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify(wire: &Wire, args: &VerifyArgs, printer: &Printer) -> Result<ExitCode> {
    let snapshots = wire.snapshots()?;
    let settings = wire.settings();
    let report =
        commands::verify(&snapshots, &args.name, &settings.node.state_dir, &settings.node.name, wire.clock.as_ref())
            .await?;
    printer.report(&report, verified)?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(Kind::Verification.exit_code()) })
}

fn verified(r: &VerifyReport) -> String {
    let none = || "-".to_owned();
    let mut rows = vec![
        ("snapshot", r.name.to_string()),
        (
            "result",
            if r.ok {
                "ok: digests, structure and content are what the manifest says".into()
            } else {
                "DAMAGED".into()
            },
        ),
        ("revision", r.revision.map_or_else(none, |v| v.to_string())),
        ("keys", r.keys.map_or_else(none, |v| v.to_string())),
        ("size", format!("{} ({} stored)", render::bytes(r.raw_size), render::bytes(r.stored_size))),
        (
            "hashkv",
            r.hash_kv.map_or_else(|| "not recorded".into(), |h| format!("{} at revision {}", h.hash, h.revision)),
        ),
    ];
    if let Some(problem) = &r.problem {
        rows.push(("problem", problem.clone()));
    }
    if !r.recorded {
        rows.push(("note", "the result could not be recorded in the store".into()));
    }
    render::fields(&rows)
}
