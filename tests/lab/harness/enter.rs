//! Running commands inside a host.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::path;
use super::wait::exit_of;

/// A shell that only joined the namespaces would keep the machine's capabilities: `date -s` in it sets the machine's
/// clock. These are never given; of the others a command gets what process 1 of the host has.
const NEVER: [u32; 4] =
    [/* SYS_MODULE */ 16, /* SYS_RAWIO */ 17, /* SYS_BOOT */ 22, /* SYS_TIME */ 25];

/// The way into a host that runs.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    pub(super) leader: i32,
    capabilities: String,
}

/// What a command in a host did.
#[derive(Clone, Debug)]
pub struct Output {
    pub host: String,
    pub command: String,
    /// `None`: killed, by its time limit or with the host.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("killed".to_owned(), |code| format!("exit code {code}"));
        writeln!(f, "{}: {} after {:.1} s: {}", self.host, code, self.took.as_secs_f32(), self.command)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}

impl Entrance {
    pub(super) fn of(leader: i32) -> Entrance {
        let status = fs::read_to_string(format!("/proc/{leader}/status")).unwrap_or_default();
        let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default().trim();
        let bounding = u64::from_str_radix(bounding, 16).unwrap_or_else(|_| panic!("process {leader} has gone"));
        let given = (0..64).filter(|n| bounding & (1 << n) != 0 && !NEVER.contains(n));
        let capabilities = given.map(|n| format!(",+cap_{n}")).collect::<String>();
        Entrance { leader, capabilities: format!("-all{capabilities}") }
    }

    /// Runs a line of bash in the host as root.
    pub(super) fn run(&self, host: &str, line: &str, stdin: &[u8], limit: Duration) -> Output {
        let (stdout, stderr) = (scratch(), scratch());
        let mut input = scratch();
        input.write_all(stdin).and_then(|()| input.rewind()).expect("input for a command");
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["--root", "--wd", "--", "/usr/bin/setpriv", "--inh-caps=-all"]);
        command.arg(format!("--bounding-set={}", self.capabilities)).arg("--");
        command.args(["/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"]);
        // It ends its whole process group: killing nsenter would leave the command behind.
        command.args([
            "/usr/bin/timeout",
            "--signal=KILL",
            &format!("{:.3}", limit.as_secs_f64()),
            "/bin/bash",
            "-c",
            line,
        ]);
        command.env_clear().env("PATH", path());
        // Files, not pipes: a daemon that a command leaves behind would keep a pipe open for ever.
        command.stdin(Stdio::from(input)).stdout(handle(&stdout)).stderr(handle(&stderr));
        let start = Instant::now();
        let mut child = command.spawn().expect("nsenter can be started");
        let status = exit_of(&mut child, limit + Duration::from_secs(10));
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let code = status.and_then(|s| s.code()).filter(|&code| code != 137);
        let (stdout, stderr) = (content(stdout), content(stderr));
        Output { host: host.to_owned(), command: line.to_owned(), code, stdout, stderr, took: start.elapsed() }
    }
}

fn scratch() -> File {
    tempfile::tempfile().expect("a scratch file")
}

fn handle(file: &File) -> Stdio {
    file.try_clone().expect("a second handle").into()
}

fn content(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("output of a command");
    String::from_utf8_lossy(&bytes).into_owned()
}
