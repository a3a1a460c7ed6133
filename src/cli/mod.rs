//! The command line: arguments in, report values rendered, exit codes out.
//!
//! One file per command. [`wire`] is the only place that names backends; nothing here decides.

mod agent;
pub mod args;
mod bootstrap;
mod config;
mod inspect;
mod progress;
mod quarantine;
mod render;
mod requests;
mod restore;
mod snapshots;
pub mod wire;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::error::{Error, Kind, Result, ResultExt};
use args::{Cli, Command};
use render::Printer;
use wire::Wire;

/// Parses the command line, runs the command, prints its error, and gives the exit code.
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    crate::sys::failpoint::arm();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = u8::try_from(e.exit_code()).unwrap_or(2);
            // A closed standard output (as in `lifeboat --help | head -1`) is no failure.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    let printer = Printer::new(cli.output);
    match run(cli, &printer) {
        Ok(code) => code,
        Err(e) => {
            render::error(&e);
            ExitCode::from(e.kind().exit_code())
        }
    }
}

fn run(cli: Cli, printer: &Printer) -> Result<ExitCode> {
    if let Command::Completions(args) = &cli.command {
        clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_fail(Kind::Internal, || "cannot start the runtime")?;
    let result = runtime.block_on(dispatch(&cli, printer));
    // A blocking read that hangs (a dead disk) must not keep the process after its answer.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

async fn dispatch(cli: &Cli, printer: &Printer) -> Result<ExitCode> {
    let wire = || Wire::new(cli.config.as_deref());
    match &cli.command {
        Command::Agent => agent::run(&wire()?).await,
        Command::Bootstrap(args) => bootstrap::run(cli.config.as_deref(), args, printer).await,
        Command::Save(args) => snapshots::save(&wire()?, args, printer).await,
        Command::Ls(args) => snapshots::ls(&wire()?, args, printer).await,
        Command::Delete(args) => snapshots::delete(&wire()?, args, printer).await,
        Command::Verify(args) => snapshots::verify(&wire()?, args, printer).await,
        Command::Get(args) => snapshots::get(&wire()?, args, printer).await,
        Command::Inspect(args) => inspect::run(args, printer).await,
        Command::Restore(args) => restore::run(cli.config.as_deref(), args, printer).await,
        Command::RestoreOnce(args) => requests::restore_once(&wire()?, args, printer).await,
        Command::Quarantine(command) => quarantine::run(&wire()?, command, printer).await,
        Command::DeclareLost(args) => requests::declare_lost(&wire()?, args, printer).await,
        Command::Config(command) => config::run(cli.config.as_deref(), *command, printer),
        Command::Completions(_) => Err(Error::new(Kind::Internal, "completions are printed without a runtime")),
    }
}
