//! Runs the built `lifeboat` binary as a user would, in an environment of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Process, guarded, minimal_env, spawn, tail, wait_child, wait_until};

/// A command line in the making.
#[derive(Debug, Clone)]
pub struct Lifeboat {
    args: Vec<String>,
    env: Vec<(String, String)>,
    limit: Duration,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

impl Lifeboat {
    /// `lifeboat ARGS...`, with nothing of the caller's environment but PATH, and a time limit of a minute.
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Lifeboat {
        Lifeboat { args: args.into_iter().map(Into::into).collect(), env: Vec::new(), limit: Duration::from_secs(60) }
    }

    /// Appends `--config FILE`.
    pub fn config(mut self, path: &Path) -> Lifeboat {
        self.args.extend(["--config".to_owned(), path.display().to_string()]);
        self
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Lifeboat {
        self.args.push(arg.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Lifeboat {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Arms failpoints: `ship.after_payload=return(kill)`.
    pub fn failpoints(self, points: &str) -> Lifeboat {
        self.env("FAILPOINTS", points)
    }

    /// Replaces the time limit of [`Lifeboat::run`].
    pub fn limit(mut self, limit: Duration) -> Lifeboat {
        self.limit = limit;
        self
    }

    /// Runs it to its end. Panics when it takes longer than the limit.
    pub fn run(&self) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let dir = scratch();
        let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
        let mut command = guarded(&binary());
        // Files, not pipes: a pipe that nobody reads would stop the child.
        let create = |path: &PathBuf| Stdio::from(File::create(path).expect("a file for output"));
        command.args(&self.args).stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err));
        command.env_clear().envs(self.full_env(dir.path()));
        let mut child = spawn(command);
        let status = wait_child(&mut child, self.limit);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let output = Output {
            code: status.and_then(|s| s.code()),
            signal: status.and_then(|s| s.signal()),
            stdout: read(&out),
            stderr: read(&err),
            shown: format!("lifeboat {}", self.args.join(" ")),
        };
        assert!(status.is_some(), "not done within {:?}: {}", self.limit, output.text());
        output
    }

    /// Starts it and returns at once, for `agent` and for a waiting `bootstrap`.
    pub fn spawn(&self) -> Running {
        let dir = scratch();
        let process = Process::start(&binary(), &self.args, &self.full_env(dir.path()), &dir.path().join("output"));
        Running { process, _dir: dir }
    }

    fn full_env(&self, home: &Path) -> Vec<(String, String)> {
        let mut env = minimal_env();
        env.push(("HOME".to_owned(), home.display().to_string()));
        env.push(("RUST_BACKTRACE".to_owned(), "1".to_owned()));
        env.extend(self.env.iter().cloned());
        env
    }
}

/// Path of the binary that cargo built for this test run.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_lifeboat"))
}

fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("lifeboat-run-").tempdir().expect("a directory for a run")
}

impl Output {
    /// Panics unless it exited with 0; hands itself back.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits_with(0)
    }

    /// Panics unless it exited with `code`; hands itself back.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Output {
        assert!(self.code == Some(code), "expected exit code {code}: {}", self.text());
        self
    }

    /// Panics unless SIGKILL ended it.
    #[track_caller]
    pub fn killed(self) -> Output {
        assert!(self.signal == Some(9), "expected SIGKILL: {}", self.text());
        self
    }

    /// Panics unless stderr holds each of the texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Output {
        for text in texts {
            assert!(self.stderr.contains(text), "stderr does not say {text:?}: {}", self.text());
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// Command, outcome and both streams, for messages.
    pub fn text(&self) -> String {
        format!(
            "{}\nexit code {:?}, signal {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.code,
            self.signal,
            tail(&self.stdout, 60),
            tail(&self.stderr, 60)
        )
    }
}

/// A `lifeboat` that runs. Dropping it kills it.
pub struct Running {
    process: Process,
    _dir: TempDir,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGTERM; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.stop().code()
    }

    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Waits for the end; its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        self.process.wait(limit).code()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Both streams so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        let end = std::time::Instant::now() + limit;
        while !self.process.output().contains(text) {
            let over = std::time::Instant::now() >= end || !self.process.is_running();
            let said = self.process.output();
            assert!(!over || said.contains(text), "never said {text:?}:\n{}", tail(&said, 60));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
