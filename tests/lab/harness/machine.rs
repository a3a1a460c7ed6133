//! Commands on the machine itself: `ip`, `mount` and the like, as root. Nothing of the product is ever run here.

use std::path::Path;
use std::process::Command;

/// Runs a program and returns what it printed; panics with all of it when it fails.
pub(super) fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap_or_else(|e| panic!("{e}"))
}

/// The same, with the failure as text.
pub(super) fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let shown = || format!("{program} {}", args.join(" "));
    let output = Command::new(program)
        .args(args)
        .env("PATH", path())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .map_err(|e| format!("cannot run {}: {e}", shown()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}\n{stdout}{stderr}", shown(), output.status))
}

/// The administrator's programs are not on everybody's PATH.
pub(super) fn path() -> String {
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", std::env::var("PATH").unwrap_or_default())
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_else(|| panic!("{} is not UTF-8", path.display()))
}

/// `count` random bytes in hexadecimal.
pub(super) fn random_hex(count: usize) -> String {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).expect("the kernel's random source");
    hex::encode(bytes)
}
