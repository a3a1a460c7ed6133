//! The `lifeboat` binary: parse, call, print the error, exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    etcd_lifeboat::cli::main()
}
