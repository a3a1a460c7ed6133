//! `lifeboat restore`: a data dir by hand, from a file or from the store, with etcdutl's flags.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::args::RestoreArgs;
use super::progress::Progress;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::core::facts::{LocalEtcd, Observed};
use crate::core::select::{self, Takes};
use crate::datadir::restore::{self, Built, Expected, RestoreSpec};
use crate::datadir::urls::parse_initial_cluster;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::snapshot::fetch;
use crate::snapshot::watched::Watched;
use crate::sys::clock::SystemClock;
use crate::sys::fs;

/// A name that [`fs::remove_scratch`] accepts; 0 is no generation.
const STAGING: &str = "lifeboat-staging-0";

#[derive(Serialize)]
struct Report {
    snapshot: String,
    data_dir: String,
    wal_dir: Option<String>,
    #[serde(flatten)]
    built: Built,
}

pub(super) async fn run(config: Option<&Path>, args: &RestoreArgs, printer: &Printer) -> Result<ExitCode> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.etcd", args.name)));
    let spec = RestoreSpec {
        members: parse_initial_cluster(&args.initial_cluster).map_err(|e| {
            e.of_kind(Kind::Usage).context(format!("--initial-cluster \"{}\" cannot be used", args.initial_cluster))
        })?,
        me: args.name.clone(),
        advertised: Some(args.initial_advertise_peer_urls.clone()),
        token: args.initial_cluster_token.clone(),
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
        drop_alarms: false,
        wal_dir: args.wal_dir.clone(),
    };
    // What is wrong with the words is said before anything is fetched.
    restore::ids(&spec).map_err(|e| e.of_kind(Kind::Usage))?;
    restore::check_target(&data_dir, args.wal_dir.as_deref())?;
    let target = Target { config, named: args.etcd_version.as_deref() };
    let (source, expected, what) = open(&target, args, &data_dir).await?;

    let existed = data_dir.is_dir();
    fs::create_dir_all(&data_dir, 0o700)?;
    let staging = data_dir.join(STAGING);
    fs::remove_scratch(&staging)?;
    let result = build_and_install(source, expected, args, &staging, &data_dir, spec, &target).await;
    let result = result.map_err(|e| explain(e, &what, &data_dir));
    if result.is_err() {
        discard(&staging, &data_dir, existed);
    }
    let report = Report {
        snapshot: what,
        data_dir: data_dir.display().to_string(),
        wal_dir: args.wal_dir.as_ref().map(|w| w.display().to_string()),
        built: result?,
    };
    printer.report(&report, people)?;
    Ok(ExitCode::SUCCESS)
}

type Source = Box<dyn Read + Send>;

/// The etcd that will run on what is restored.
struct Target<'a> {
    config: Option<&'a Path>,
    /// Its version, as a person said it.
    named: Option<&'a str>,
}

impl Target<'_> {
    async fn version(&self) -> Observed<LocalEtcd> {
        if let Some(version) = self.named {
            return Observed::Known(LocalEtcd { version: version.to_owned(), found_in: "--etcd-version".to_owned() });
        }
        // A file is restored on hosts without a configuration, too.
        let wire = Wire::by_hand(self.config).ok();
        crate::setup::etcd_version(wire.as_ref().map(Wire::settings)).await
    }

    /// Whether that etcd can take data of this storage version, which etcd 3.6 was the first to write down.
    async fn takes(&self, what: &str, storage: Option<&str>) -> Result<()> {
        let Some(storage) = storage else { return Ok(()) };
        match select::takes(storage, Some(&self.version().await)) {
            Takes::Yes => Ok(()),
            Takes::TooOld(needed, why) => Err(Error::new(Kind::Refused, format!("{what} is not restored: {why}"))
                .hint(format!(
                    "install etcd {needed} or newer, or say which one will run on it: --etcd-version {needed}"
                ))),
            Takes::NotKnown(why) => {
                render::warn(&format!("{what} {why}"));
                Ok(())
            }
        }
    }
}

fn from_file(snapshot: &str) -> bool {
    Path::new(snapshot).is_file()
}

/// A path that exists is a file; everything else is a name in the store.
async fn open(target: &Target<'_>, args: &RestoreArgs, data_dir: &Path) -> Result<(Source, Expected, String)> {
    let path = Path::new(&args.snapshot);
    if from_file(&args.snapshot) {
        let mut near = data_dir;
        while !near.exists() {
            near = fs::parent(near);
        }
        let reader = fetch::open_file(path, fs::free_space(near)?)?.ahead()?;
        return Ok((Box::new(reader), Expected::default(), args.snapshot.clone()));
    }
    if args.snapshot.contains('/') || args.snapshot.ends_with(".db") || args.snapshot.contains(".db.") {
        return Err(Error::new(Kind::NotFound, format!("there is no file {}", args.snapshot))
            .hint("give a snapshot file, or the name of a snapshot as 'lifeboat ls' shows it"));
    }
    let snapshots = Wire::by_hand(target.config)?.snapshots()?;
    let manifest = snapshots.resolve(&args.snapshot).await?;
    target.takes(manifest.name.as_str(), manifest.storage_version.as_deref()).await?;
    let expected = Expected::from(&manifest);
    let reader = fetch::open_raw(&snapshots, &manifest).await?.ahead()?;
    Ok((Box::new(reader), expected, manifest.name.to_string()))
}

async fn build_and_install(
    source: Source,
    expected: Expected,
    args: &RestoreArgs,
    staging: &Path,
    data_dir: &Path,
    spec: RestoreSpec,
    target: &Target<'_>,
) -> Result<Built> {
    let progress = Progress::new("restoring", std::sync::Arc::new(SystemClock::new()));
    let (mut reader, watch) = Watched::new(source);
    let total = expected.size.unwrap_or(0);
    let skip = args.skip_hash_check;
    let dir = staging.to_path_buf();
    let mut work = tokio::task::spawn_blocking(move || restore::build(&mut reader, &expected, skip, &dir, &spec));
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let built = loop {
        tokio::select! {
            built = &mut work => break built,
            _ = tick.tick() => progress.at(watch.done(), total),
        }
    };
    progress.end();
    let built = built.or_fail(Kind::Internal, || "the restore was interrupted")?.map_err(|e| watch.explain(e))?;
    if from_file(&args.snapshot) {
        target.takes(&args.snapshot, built.storage_version.as_deref()).await?;
    }
    failpoint!("restore.built");
    let (from, to, wal) = (staging.to_path_buf(), data_dir.to_path_buf(), args.wal_dir.clone());
    tokio::task::spawn_blocking(move || restore::install(&from, &to, wal.as_deref()))
        .await
        .or_fail(Kind::Internal, || "the restore was interrupted")??;
    failpoint!("restore.in_place");
    fs::remove_scratch(staging)?;
    Ok(built)
}

/// Names what was restored, and says what to do about a damaged one.
fn explain(e: Error, what: &str, data_dir: &Path) -> Error {
    let damaged = e.kind() == Kind::Verification && e.hint_text().is_none();
    let e = e.context(format!("cannot restore {what} into {}; nothing was put in place", data_dir.display()));
    if damaged { e.hint("take another snapshot: lifeboat ls") } else { e }
}

/// Leaves nothing behind that was not there before.
fn discard(staging: &Path, data_dir: &Path, existed: bool) {
    if let Err(e) = fs::remove_scratch(staging) {
        render::note(&format!("warning: {}", e.one_line()));
    }
    if !existed {
        // Only an empty directory goes; anything else in it is not ours.
        let _ = std::fs::remove_dir(data_dir);
    }
}

fn people(r: &Report) -> String {
    let b = &r.built;
    let mut text = render::fields(&[
        ("restored", r.snapshot.clone()),
        ("into", r.data_dir.clone()),
        ("revision", format!("{} (snapshot: {})", b.revision, b.snapshot_revision)),
        ("live keys", b.live_keys.to_string()),
        ("member", format!("{} of cluster {}", b.member_id, b.cluster_id)),
        (
            "digest",
            if b.digest_verified {
                "verified".into()
            } else {
                "NOT verified: the file carries none; its structure was checked".into()
            },
        ),
    ]);
    for alarm in &b.alarms {
        text.push_str(&format!(
            "warning: the snapshot carries an alarm ({alarm}); etcd refuses writes until: etcdctl alarm disarm\n"
        ));
    }
    if b.auth_enabled {
        text.push_str("note: auth is on in this snapshot; clients need its users and passwords\n");
    }
    text
}
