//! Children that never outlive the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running child whose output goes to a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it prints is appended to `log`.
    pub fn start(program: &Path, args: &[String], envs: &[(String, String)], log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).expect("a log file");
        let mut command = guarded(program);
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
        command.env_clear().envs(minimal_env()).envs(envs.iter().cloned());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Process { child: spawn(command), name, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// SIGTERM, and the exit status. After 20 s it is killed and the test fails.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(Duration::from_secs(20))
    }

    /// SIGKILL: what a power cut looks like to the process.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end, not longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = wait_child(&mut self.child, limit) {
            return status;
        }
        self.kill9();
        panic!("{} did not end within {limit:?}; it printed:\n{}", self.name, self.output());
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Panics with the last lines of the output if the process has ended.
    pub fn expect_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}:\n{}", self.name, tail(&self.output(), 30));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A command that the kernel ends when the test process dies, however it dies.
pub fn guarded(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let there = SETPRIV.get_or_init(|| {
        let probe = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).stderr(Stdio::null()).status();
        probe.is_ok_and(|s| s.success())
    });
    if !there {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Spawns on a thread that lives as long as the process: the death signal follows the thread that spawned.
pub fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = mpsc::channel();
    let shown = format!("{command:?}");
    let sent = spawner.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send((command, answer));
    sent.expect("the spawning thread runs");
    child.recv().expect("an answer").unwrap_or_else(|e| panic!("cannot start {shown}: {e}"))
}

/// Waits for a child, not longer than `limit`.
pub fn wait_child(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Polls `done` until it is true; panics with `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "waited {limit:?} for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a process id");
    // It may have ended by itself; whoever waits for it will see.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// The environment of every child: nothing of the developer's leaks in.
pub fn minimal_env() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    vec![("PATH".to_owned(), path), ("LANG".to_owned(), "C.UTF-8".to_owned())]
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
