//! The command line as clap sees it. Parsing only; nothing here opens a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::core::select::Release;

/// Snapshots of etcd that can be restored, and a gate that restores them before etcd may start.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, propagate_version = true, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed (a retry is sensible), 2 wrong command line, 3 refused: a person must choose, \
4 undecided at the --deadline, 5 a snapshot failed verification, 78 configuration."
)]
pub struct Cli {
    /// Configuration file; conf.d/*.toml beside it and LIFEBOAT_* variables are read too
    #[arg(long, global = true, value_name = "FILE", env = "LIFEBOAT_CONFIG", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// How reports are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Form of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon: scheduled snapshots, shipping, and the heartbeat and voters of the cluster
    Agent,
    /// The gate of etcd: decides whether this host starts, joins, restores or waits, and does it
    Bootstrap(BootstrapArgs),
    /// Takes a snapshot now and ships it to the store
    Save(SaveArgs),
    /// Lists snapshots
    Ls(LsArgs),
    /// Deletes snapshots from the store
    Delete(DeleteArgs),
    /// Reads a stored snapshot back and checks all of it
    Verify(VerifyArgs),
    /// Fetches a snapshot as the plain .db file that etcdutl understands
    Get(GetArgs),
    /// Shows what is in a snapshot file or a data dir
    Inspect(InspectArgs),
    /// Restores a snapshot into a new data dir by hand, as 'etcdutl snapshot restore' does
    Restore(RestoreArgs),
    /// Arms a restore of the whole cluster for this host's next start of etcd, once
    RestoreOnce(RestoreOnceArgs),
    /// Moves a member aside by hand, or lists what was moved
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// A person's word that the newest life of the cluster is gone for good
    DeclareLost(DeclareLostArgs),
    /// A person's word that the cluster on this host is the one of this store from now on
    Adopt(AdoptArgs),
    /// Lets etcd's unit wait for the gate, and hands the agent the files that the configuration names
    Setup(SetupArgs),
    /// Shows or checks the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints a completion script for a shell
    Completions(CompletionsArgs),
    /// Writes the manual pages, for packages
    #[command(hide = true)]
    Man(ManArgs),
}

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// Print facts, rule and verdict, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Decide on facts recorded earlier (a file from the history folder) instead of looking; implies --dry-run
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Give up waiting after this time ("90s", "10m"), with exit code 4
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub deadline: Option<Duration>,
    /// Form an empty cluster although an earlier one is remembered and no snapshot of it is left
    #[arg(long)]
    pub init_empty: bool,
    /// Never fail: wait for whatever is wrong (configuration, disks, a person's word) to be mended, as the unit does
    #[arg(long, conflicts_with_all = ["deadline", "dry_run", "facts"])]
    pub wait: bool,
    /// etcd has started: take out of its environment file what was there for that one start. Its unit types this
    #[arg(long, hide = true, conflicts_with_all = ["deadline", "dry_run", "facts", "init_empty", "wait"])]
    pub started: bool,
}

/// Arguments of `save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Beginning of the snapshot's name
    #[arg(long, default_value = "on-demand")]
    pub name: String,
    /// Compression, instead of the configured one
    #[arg(long, value_enum)]
    pub compression: Option<CompressionArg>,
    /// Also record etcd's own digest of its whole key space (HashKV), which costs etcd seconds on a large db; the agent does that once a day
    #[arg(long)]
    pub hash: bool,
    /// Leave the snapshot in the spool; the agent ships it later
    #[arg(long)]
    pub no_ship: bool,
}

/// Compression of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompressionArg {
    Gzip,
    Zstd,
    None,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only what lies in the local spool
    #[arg(long, conflicts_with = "remote")]
    pub local: bool,
    /// Only what is in the store
    #[arg(long)]
    pub remote: bool,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Names as 'lifeboat ls' shows them
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Name of a snapshot, or "latest"
    #[arg(default_value = "latest")]
    pub name: String,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Name of a snapshot, or "latest"
    pub name: String,
    /// Where to put it; default: <NAME>.db in this directory
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A snapshot file (.db, .db.gz, .db.zst) or a data dir
    pub path: PathBuf,
    /// WAL dir of the data dir, if it is elsewhere
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
}

/// Arguments of `restore`; the names are etcdutl's.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file (.db, .db.gz, .db.zst), or the name of a snapshot in the store, or "latest"
    pub snapshot: String,
    /// Path to the data directory; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Path to the WAL directory, if not inside the data directory
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Human-readable name for this member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Initial cluster configuration for restore bootstrap
    #[arg(long, default_value = "default=http://localhost:2380")]
    pub initial_cluster: String,
    /// Initial cluster token for the etcd cluster during restore bootstrap
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// List of this member's peer URLs to advertise to the rest of the cluster
    #[arg(long, default_value = "http://localhost:2380", value_delimiter = ',')]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Version of the etcd that will run on it, when that is not the one of this host; an older one than the snapshot's is refused
    #[arg(long, value_name = "VERSION", value_parser = parse_etcd_version)]
    pub etcd_version: Option<String>,
    /// Accept a file without the digest that 'etcdctl snapshot save' appends, such as a copied member/snap/db
    #[arg(long)]
    pub skip_hash_check: bool,
    /// How much to increase the latest revision after restore
    #[arg(long, value_name = "N", requires = "mark_compacted")]
    pub bump_revision: Option<u64>,
    /// Mark the latest revision after restore as the point of scheduled compaction (needs --bump-revision)
    #[arg(long, requires = "bump_revision")]
    pub mark_compacted: bool,
}

/// Arguments of `restore-once`.
#[derive(Debug, Args)]
pub struct RestoreOnceArgs {
    /// Name of a snapshot, what 'save --name' was given (then the newest of these), or "latest"
    #[arg(required_unless_present = "cancel", conflicts_with = "cancel")]
    pub name: Option<String>,
    /// k3s, rke2: a word for this restore, the same on all hosts, which stop for it together
    #[arg(long, value_name = "WORD", conflicts_with = "cancel")]
    pub id: Option<String>,
    /// Take an armed restore back, also its plan as long as too few hosts have followed it
    #[arg(long)]
    pub cancel: bool,
}

/// What to do with quarantined members.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Moves member/ of the configured data dir aside (deletes nothing); the next bootstrap treats the host as empty
    Add {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Lists what was moved aside
    Ls,
}

/// Arguments of `declare-lost`.
#[derive(Debug, Args)]
pub struct DeclareLostArgs {
    /// Why, for the record
    #[arg(long)]
    pub reason: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `setup`.
#[derive(Debug, Args)]
#[command(
    after_help = "It writes drop-ins named 50-lifeboat-setup.conf below /etc/systemd/system and lets systemd read them. It starts, stops and \
enables nothing; etcd passes the gate at its next start. Type it again after each change of the configuration, or of etcd's unit."
)]
pub struct SetupArgs {
    /// Remove all of it again: etcd no longer waits for the gate. Needs no configuration
    #[arg(long)]
    pub remove: bool,
    /// Print what would be written or removed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Work on the system below DIR, where no systemd runs (an image, a container that is being built)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub root: Option<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Prints each effective value with its origin; secrets are not shown
    Show,
    /// Checks all files, and the files that they name; needs no network
    Check,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// `90s`, `10m`, `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "a time with its unit is needed, such as 90s, 10m or 1h30m".to_owned())?;
    Duration::try_from(span).map_err(|_| "it may not be negative".to_owned())
}

/// `3.6.1`, `v3.6.1`, `3.6`, `3.6.0-rc.1`: one that cannot be read would be neither too old nor new enough.
fn parse_etcd_version(text: &str) -> Result<String, String> {
    let version = text.strip_prefix('v').unwrap_or(text);
    let patch = version.splitn(3, '.').nth(2);
    let is_patch = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_digit()) && p.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
    };
    match Release::of(version) {
        Some(_) if patch.is_none_or(is_patch) => Ok(version.to_owned()),
        _ => Err("the version of an etcd is needed, such as 3.5.30 or 3.6".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "90", "-5s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_version_of_etcd_that_cannot_be_read_is_a_wrong_command_line() {
        for (said, understood) in [
            ("3.5.30", Some("3.5.30")),
            ("v3.5.30", Some("3.5.30")),
            ("3.6", Some("3.6")),
            ("3.6.0-rc.1", Some("3.6.0-rc.1")),
            ("3.7.0-alpha.0+git", Some("3.7.0-alpha.0+git")),
            ("3", None),
            ("3,5", None),
            ("3.5.", None),
            ("3.5.x", None),
            ("3.5.30 ", None),
            ("3.5-rc.0", None),
            ("vv3.5", None),
            ("latest", None),
            ("", None),
        ] {
            let parsed = Cli::try_parse_from(["lifeboat", "restore", "latest", "--etcd-version", said]);
            let parsed = parsed.map_err(|e| e.exit_code()).map(|cli| match cli.command {
                Command::Restore(args) => args.etcd_version,
                other => panic!("{other:?}"),
            });
            assert_eq!(parsed, understood.map(|v| Some(v.to_owned())).ok_or(2), "{said:?}");
        }
    }
}
