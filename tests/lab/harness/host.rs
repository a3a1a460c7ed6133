//! A host: a container with real systemd, a disk of its own and an address on the lab's network.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::enter::Output;
use super::lab::Ground;
use super::machine::{self, text};
use super::power::{Boot, Running};
use super::rootfs::{self, Suite};
use super::volume::{Mounted, Volume};
use super::wait::{poll, wait_for};

/// How long a command may take when nothing else is said.
const COMMAND: Duration = Duration::from_secs(60);
/// How long a host may take to come up, or to go down in good order: services have 90 s to stop.
const POWER: Duration = Duration::from_secs(120);
/// systemd-nspawn ends with it when the host asked for a reboot.
const REBOOT: i32 = 133;

/// A handle: clones stand for the same host. It ends with its lab.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    ground: Arc<Ground>,
    name: String,
    suite: Suite,
    address: String,
    root: PathBuf,
    cgroup: Cgroup,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    boot: Boot,
    running: Option<Running>,
    volumes: Vec<Mounted>,
}

impl Host {
    pub(super) fn create(ground: &Arc<Ground>, name: &str, suite: Suite, address: &str) -> Host {
        let lower = rootfs::of(suite);
        let disk = ground.dir.join(name);
        let root = ground.stage.join("hosts").join(name);
        for dir in [&disk.join("upper"), &disk.join("work"), &root] {
            fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        }
        let options = format!("lowerdir={},upperdir={}/upper,workdir={}/work", text(&lower), text(&disk), text(&disk));
        machine::run("mount", &["-t", "overlay", "overlay", "-o", &options, text(&root)]);
        fs::write(root.join("etc/machine-id"), format!("{}\n", machine::random_hex(16))).expect("a machine id");
        fs::write(root.join("etc/hostname"), format!("{name}\n")).expect("a host name");
        let (ground, name, address) = (Arc::clone(ground), name.to_owned(), address.to_owned());
        let cgroup = Cgroup::create(&ground.name, &name);
        Host(Arc::new(Inner { ground, name, suite, address, root, cgroup, state: Mutex::default() }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn suite(&self) -> Suite {
        self.0.suite
    }

    /// Its address on the lab's network.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Its disk as the machine sees it, for what must be done while it is off. Volumes are not in it.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn ground(&self) -> &Ground {
        &self.0.ground
    }

    // --- commands ----------------------------------------------------------------------------------------------------

    /// Runs a line of bash as root, for a minute at most.
    pub fn run(&self, line: &str) -> Output {
        self.run_for(COMMAND, line)
    }

    /// Runs a line of bash as root; after `limit` it is killed.
    pub fn run_for(&self, limit: Duration, line: &str) -> Output {
        self.run_with(limit, line, &[])
    }

    /// The same, with something on its standard input.
    pub fn run_with(&self, limit: Duration, line: &str, stdin: &[u8]) -> Output {
        let entrance = self.lock().running.as_ref().map(|r| r.entrance.clone());
        let entrance = entrance.unwrap_or_else(|| panic!("{} is off; it cannot run: {line}", self.name()));
        entrance.run(self.name(), line, stdin, limit)
    }

    /// Runs a line of bash that must succeed, and returns its standard output.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.ok_for(COMMAND, line)
    }

    #[track_caller]
    pub fn ok_for(&self, limit: Duration, line: &str) -> String {
        let output = self.run_for(limit, line);
        if output.success() {
            return output.stdout;
        }
        let failed = self.run("systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend").stdout;
        let log = self.run("journalctl --no-pager -o short-precise -n 20").stdout;
        panic!("{output}\n--- failed units and jobs\n{failed}--- end of the journal\n{log}");
    }

    /// Repeats a command until it succeeds, and returns its standard output.
    #[track_caller]
    pub fn wait_ok(&self, what: &str, limit: Duration, line: &str) -> String {
        let mut last = None;
        let done = poll(limit, || {
            let output = self.run_for(COMMAND.min(limit), line);
            let good = output.success().then(|| output.stdout.clone());
            last = Some(output);
            good
        });
        let last = last.expect("it was tried");
        done.unwrap_or_else(|| panic!("waited {limit:?} for: {what}; the last try:\n{last}"))
    }

    /// Asks until the answer is there; panics with `what` and the end of the journal.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, limit: Duration, mut look: impl FnMut(&Host) -> Option<T>) -> T {
        poll(limit, || look(self)).unwrap_or_else(|| {
            let log = self.journal("-n 40");
            panic!("{}: waited {limit:?} for: {what}\n--- end of the journal\n{log}", self.name())
        })
    }

    // --- power -------------------------------------------------------------------------------------------------------

    /// Changes what the next boots are given.
    pub fn next_boot(&self, change: impl FnOnce(&mut Boot)) {
        change(&mut self.lock().boot);
    }

    /// Adds a file system of its own; it is there from the next boot on. The host must be off.
    pub fn add_volume(&self, volume: &Volume) {
        let mut state = self.lock();
        assert!(state.running.is_none(), "{} gets its volumes while it is off", self.name());
        let id = format!("{}-{}", self.name(), state.volumes.len());
        state.volumes.push(Mounted::create(volume, &self.ground().dir, &self.ground().stage, self.root(), &id));
    }

    pub(super) fn volume_mounts(&self) -> Vec<(String, PathBuf)> {
        self.lock().volumes.iter().map(|v| (v.at.clone(), v.source.clone())).collect()
    }

    /// Switches it on and waits until systemd has the basic system up. It does not wait for services: a gate that holds
    /// etcd back would never let it return. [`Host::settle`] does.
    pub fn boot(&self) {
        let start = Instant::now();
        let boot = self.lock().boot.clone();
        assert!(!self.is_on(), "{} is on", self.name());
        let running = Running::start(self, &boot, &self.0.cgroup);
        self.lock().running = Some(running);
        let mut last = None;
        let up = poll(POWER, || {
            let output = self.run("systemctl is-active basic.target");
            let good = output.success();
            last = Some(output);
            good.then_some(())
        });
        assert!(up.is_some(), "{} did not boot:\n{}\n{}", self.name(), last.expect("it was tried"), self.console());
        println!("lab: {}: {} booted in {:.1} s", self.ground().story, self.name(), start.elapsed().as_secs_f32());
    }

    /// Switches it on with these arguments of process 1 and these credentials, from now on.
    pub fn boot_with(&self, kernel_args: &[&str], credentials: &[(&str, &str)]) {
        self.next_boot(|boot| {
            boot.kernel_args = kernel_args.iter().map(|&arg| arg.to_owned()).collect();
            boot.credentials = credentials.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        });
        self.boot();
    }

    /// Waits until all jobs of the boot are done, and returns `running` or `degraded`.
    pub fn settle(&self, limit: Duration) -> String {
        self.wait_for("the end of the boot", limit, |host| {
            let state = host.run("systemctl is-system-running").stdout.trim().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(state)
        })
    }

    /// `systemctl reboot`, and on again.
    pub fn reboot(&self) {
        self.go_down("systemctl reboot", REBOOT);
        self.boot();
    }

    /// `systemctl poweroff`.
    pub fn power_off(&self) {
        self.go_down("systemctl poweroff", 0);
    }

    /// All processes end at once. What was written stays written, synced or not: the machine's page cache has it.
    pub fn power_cut(&self) {
        let mut running = self.take_running("cannot lose power");
        running.cut_power();
    }

    pub fn is_on(&self) -> bool {
        self.lock().running.is_some()
    }

    fn go_down(&self, line: &str, expected: i32) {
        let said = self.run(line);
        let mut running = self.take_running("cannot go down");
        let Some(status) = running.wait(POWER) else {
            self.lock().running = Some(running);
            let jobs = self.run("systemctl list-jobs --no-legend").stdout;
            panic!("{} is still up {POWER:?} after:\n{said}\n--- jobs\n{jobs}", self.name());
        };
        assert!(
            status.code() == Some(expected),
            "{}: {line} ended with {status}\n{said}\n{}",
            self.name(),
            self.console()
        );
    }

    fn take_running(&self, otherwise: &str) -> Running {
        self.lock().running.take().unwrap_or_else(|| panic!("{} is off: it {otherwise}", self.name()))
    }

    /// Stops all its processes where they are; the network still carries packets to it.
    pub fn freeze(&self) {
        self.0.cgroup.freeze(true);
    }

    pub fn thaw(&self) {
        self.0.cgroup.freeze(false);
    }

    // --- for the lab -------------------------------------------------------------------------------------------------

    pub(super) fn console_log(&self) -> PathBuf {
        self.ground().dir.join(format!("{}-console.log", self.name()))
    }

    /// What nspawn and process 1 have printed.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.console_log()).unwrap_or_default()).into_owned()
    }

    pub(super) fn write_names(&self, names: &[(String, String)]) {
        let mut text = format!("127.0.0.1 localhost\n{} s3\n", super::net::store_address());
        names.iter().for_each(|(name, address)| text.push_str(&format!("{address} {name}\n")));
        fs::write(self.root().join("etc/hosts"), text).expect("/etc/hosts of a host");
    }

    /// Off, unmounted, and its cgroup removed; what could not be done is returned.
    pub(super) fn destroy(&self) -> Vec<String> {
        let mut state = self.lock();
        if let Some(mut running) = state.running.take() {
            running.cut_power();
        }
        let mut problems: Vec<_> = state.volumes.iter().filter_map(|v| v.unmount().err()).collect();
        problems.extend(machine::try_run("umount", &[text(self.root())]).err());
        self.0.cgroup.remove();
        problems
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a port of a host answers, as seen from another host.
pub fn wait_for_port(from: &Host, address: &str, port: u16, limit: Duration) {
    let probe = format!("timeout 1 bash -c '</dev/tcp/{address}/{port}'");
    wait_for(&format!("port {port} of {address}"), limit, || from.run(&probe).success().then_some(()));
}
