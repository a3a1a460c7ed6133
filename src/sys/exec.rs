//! Starts other programs, with a time limit and without a shell. The only owner of `Command`.
//!
//! It exists so that no child can hang a command of ours, fill its memory, or outlive it. It may not judge an answer.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::error::{Error, Kind, Result, ResultExt};

/// Nobody whom we ask says more; the rest is dropped.
const LARGEST_OUTPUT: u64 = 1 << 20;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// Runs `program` (found in PATH) to its end, without standard input and with plain output.
///
/// # Errors
/// When it cannot be started, or runs longer than `limit` (it is killed then). An exit code is no error here.
#[allow(clippy::disallowed_methods, reason = "this module owns the start of children")]
pub async fn run<A: AsRef<OsStr>>(program: &str, args: &[A], limit: Duration) -> Result<Output> {
    let shown = || {
        let args: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
        format!("{program} {}", args.join(" "))
    };
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .or_fail(Kind::Io, || format!("cannot start {program}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (stdout, stderr, status) = tokio::join!(all(out), all(err), child.wait());
        Ok(Output { code: status?.code(), stdout: stdout?, stderr: stderr? })
    };
    let result: std::io::Result<Output> = match tokio::time::timeout(limit, ended).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("{} has not ended within {} s and was killed", shown(), limit.as_secs_f64());
            return Err(Error::new(Kind::Io, text).hint(format!("try it by hand: {}", shown())));
        }
    };
    result.or_fail(Kind::Io, || format!("cannot read the answer of {}", shown()))
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    (&mut pipe).take(LARGEST_OUTPUT).read_to_end(&mut bytes).await?;
    // A child whose pipe is closed early dies of it, and its exit code with it.
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_and_exit_code_are_handed_on() {
        let limit = Duration::from_secs(20);
        let out = run("sh", &["-c", "echo out; echo err >&2; cat; exit 3"], limit).await.unwrap();
        assert_eq!(out, Output { code: Some(3), stdout: "out\n".into(), stderr: "err\n".into() });
        let out = run("sh", &["-c", "head -c 3000000 /dev/zero && exit 4"], limit).await.unwrap();
        assert_eq!((out.code, out.stdout.len() as u64), (Some(4), LARGEST_OUTPUT));
        let e = run::<&str>("lifeboat-no-such-program", &[], limit).await.unwrap_err();
        assert!(e.one_line().contains("cannot start lifeboat-no-such-program"), "{e:?}");
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("alive");
        let script = format!("sleep 1; touch {}", mark.display());
        let e = run("sh", &["-c", &script], Duration::from_millis(100)).await.unwrap_err();
        assert!(e.message().contains("has not ended within 0.1 s") && e.hint_text().is_some(), "{e:?}");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!mark.exists(), "the child went on");
    }
}
