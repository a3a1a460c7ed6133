//! Power of a host: starting its container, and finding its process 1.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::{self, Cgroup};
use super::enter::Entrance;
use super::host::Host;
use super::machine::{path, text};
use super::wait::{exit_of, poll};

/// Process 1 of a process namespace that holds the whole container: the kernel ends all of it when this one dies, and
/// this one dies with whoever started it. It stays in front of nspawn, which would not like to be process 1 itself.
const HOLDER: &str = r#"
doors=$1; legacy=$2; shift 2
# Container programs of version 2 want it at this place; only this mount namespace sees the change.
[ "$legacy" = no ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
code=0
(for door in $doors; do echo 0 > "$door"; done; exec systemd-nspawn "$@") || code=$?
exit $code
"#;

/// What the next boots are given. It stays until it is changed.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Arguments of process 1: what the kernel command line is to a container (`/proc/1/cmdline`).
    pub kernel_args: Vec<String>,
    /// System credentials: name and value.
    pub credentials: Vec<(String, String)>,
    /// Directories or files of the machine: path there, path in the host. Read-only.
    pub binds: Vec<(PathBuf, String)>,
    /// Mount points of volumes that are missing at this boot, as a disk can be.
    pub without_volumes: Vec<String>,
}

/// A container that runs.
pub(super) struct Running {
    holder: Child,
    pub(super) entrance: Entrance,
}

impl Running {
    pub(super) fn start(host: &Host, boot: &Boot, cgroup: &Cgroup) -> Running {
        let console = File::options().create(true).append(true).open(host.console_log()).expect("a console log");
        let doors: Vec<_> = cgroup.doors().iter().map(|door| text(door).to_owned()).collect();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.args(["unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork"]);
        command.args(["--kill-child=SIGKILL", "--", "sh", "-euc", HOLDER, "holder", &doors.join(" ")]);
        command.arg(if cgroup::is_unified() { "no" } else { "yes" });
        command.args(nspawn_args(host, boot));
        command.env_clear().env("PATH", path()).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(console.try_clone().expect("a second handle")).stderr(console);
        let mut holder = host.ground().spawner.spawn(command);
        let leader = poll(Duration::from_secs(60), || {
            if let Some(status) = holder.try_wait().expect("wait for nspawn") {
                panic!("{} did not start: {status}\n{}", host.name(), host.console());
            }
            leader_below(holder.id())
        });
        let Some(leader) = leader else {
            let _ = holder.kill();
            let _ = holder.wait();
            panic!("{} has no process 1 after a minute:\n{}", host.name(), host.console());
        };
        Running { holder, entrance: Entrance::of(leader) }
    }

    /// The end of the container, waited for no longer than `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        exit_of(&mut self.holder, limit)
    }

    /// All its processes end at once, as when the power goes.
    pub(super) fn cut_power(&mut self) {
        let _ = kill(Pid::from_raw(self.entrance.leader), Signal::SIGKILL);
        if self.wait(Duration::from_secs(20)).is_none() {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

fn nspawn_args(host: &Host, boot: &Boot) -> Vec<String> {
    let mut args: Vec<String> = ["--quiet", "--keep-unit", "--register=no", "--link-journal=no", "--resolv-conf=off"]
        .into_iter()
        .chain(["--timezone=off", "--console=pipe", "--capability=CAP_NET_ADMIN"])
        .map(String::from)
        .collect();
    args.push(format!("--directory={}", text(host.root())));
    args.push(format!(
        "--machine={}",
        host.ground().name.chars().chain(['-']).chain(host.name().chars()).collect::<String>()
    ));
    args.push(format!("--hostname={}", host.name()));
    args.push(format!("--network-namespace-path=/run/netns/{}", host.name()));
    args.extend(boot.credentials.iter().map(|(name, value)| format!("--set-credential={name}:{value}")));
    args.extend(boot.binds.iter().map(|(from, to)| format!("--bind-ro={}:{to}", text(from))));
    for (at, source) in host.volume_mounts() {
        if !boot.without_volumes.contains(&at) {
            args.push(format!("--bind={}:{at}", text(&source)));
        }
    }
    args.push("--boot".to_owned());
    args.push("--".to_owned());
    args.extend(boot.kernel_args.iter().cloned());
    args
}

/// Process 1 of the container that runs below the process `holder`, once systemd is what it runs.
fn leader_below(holder: u32) -> Option<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = processes.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let leader = numbers.into_iter().find(|&pid| is_container_init(pid) && is_below(pid, holder))?;
    i32::try_from(leader).ok()
}

/// Its number is 1 in the container, and another one in the holder's namespace around it.
fn is_container_init(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let numbers = field("NSpid:");
    let mut inner = numbers.split_whitespace().rev();
    inner.next() == Some("1")
        && inner.next().is_some_and(|n| n != "1")
        && inner.next().is_some()
        && field("Name:") == "systemd"
}

fn is_below(pid: u32, ancestor: u32) -> bool {
    let mut pid = pid;
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = stat.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|p| p.trim().parse().ok());
        pid = parent.unwrap_or(0);
    }
    false
}
