//! The command line: arguments in, report values rendered, exit codes out.
//!
//! One file per command. [`wire`] is the only place that names backends; nothing here decides.

mod adopt;
mod agent;
pub mod args;
mod bootstrap;
mod config;
mod declare_lost;
mod gate;
mod inspect;
mod man;
mod progress;
mod quarantine;
mod render;
mod requests;
mod restore;
mod setup;
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
    let output = cli.output;
    match run(cli, &Printer::new(output)) {
        Ok(code) => code,
        Err(e) => {
            render::error(&e, output);
            ExitCode::from(e.kind().exit_code())
        }
    }
}

fn run(cli: Cli, printer: &Printer) -> Result<ExitCode> {
    if let Command::Completions(args) = &cli.command {
        // Not straight to standard output: the generator panics when that is closed early.
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut Cli::command(), "lifeboat", &mut script);
        return printer.text(&script).map(|()| ExitCode::SUCCESS);
    }
    if let Command::Man(args) = &cli.command {
        return man::write(&args.dir);
    }
    let runtime = loop {
        let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        match built.or_fail(Kind::Internal, || "cannot start the runtime") {
            Ok(runtime) => break runtime,
            // The gate never fails, and a host that is short of threads or files may not be so in a moment.
            Err(e) if matches!(&cli.command, Command::Bootstrap(args) if args.wait) => {
                render::note(&format!("{}; trying again", e.one_line()));
                std::thread::sleep(std::time::Duration::from_secs(5));
            }
            Err(e) => return Err(e),
        }
    };
    let result = runtime.block_on(async {
        // The agent and the gate end in their own way.
        if matches!(cli.command, Command::Agent | Command::Bootstrap(_)) {
            return dispatch(&cli, printer).await;
        }
        let stop = bootstrap::stop_signal()?;
        let stopped = tokio::select! {
            result = dispatch(&cli, printer) => return result,
            () = stop => Error::new(Kind::Io, "stopped by a signal before the end; what was half done does not count")
                .hint("type the same again; lifeboat ls shows what is in the store and in the spool"),
        };
        wind_up().await;
        Err(stopped)
    });
    // A blocking read that hangs (a dead disk) must not keep the process after its answer.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

/// Lets aborts of broken-off uploads reach the store, within a bound.
async fn wind_up() {
    for _ in 0..50 {
        if tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn dispatch(cli: &Cli, printer: &Printer) -> Result<ExitCode> {
    let wire = || Wire::by_hand(cli.config.as_deref());
    match &cli.command {
        Command::Agent => agent::run(&Wire::new(cli.config.as_deref())?).await,
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
        Command::DeclareLost(args) => declare_lost::run(&wire()?, args, printer).await,
        Command::Adopt(args) => adopt::run(&wire()?, args, printer).await,
        Command::Setup(args) => setup::run(cli.config.as_deref(), args, printer).await,
        Command::Config(command) => config::run(cli.config.as_deref(), *command, printer),
        Command::Completions(_) | Command::Man(_) => {
            Err(Error::new(Kind::Internal, "completions and manual pages are made without a runtime"))
        }
    }
}
