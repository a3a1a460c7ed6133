//! The lab: the ground that hosts stand on, and its end.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::host::Host;
use super::leftovers::RunDir;
use super::net::{Block, Net};
use super::rootfs::Suite;
use super::s3::S3;
use super::spawner::Spawner;
use super::{cgroup, evidence, machine, net, product};

/// Mount point of what only this lab sees; each lab has its own directory, since removing one that is a mount point in
/// another namespace takes the mounts there away.
pub(super) fn stage_of(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/etcd-lifeboat-lab-{name}"))
}

/// What hosts, network and store of one lab share.
pub(super) struct Ground {
    pub(super) story: String,
    /// Name of this run: the story's, and something random.
    pub(super) name: String,
    /// On disk: uppers of the hosts, their volumes, what the store holds.
    pub(super) dir: PathBuf,
    /// In memory, seen by this lab only: mount points.
    pub(super) stage: PathBuf,
    pub(super) spawner: Spawner,
    pub(super) started: Instant,
}

/// One to three hosts, their network and their store. Everything goes with it, also when the story panics; the journals
/// of the hosts are kept then.
///
/// It must be dropped by the thread that made it, as a local variable of a test is.
pub struct Lab {
    ground: Arc<Ground>,
    run: RunDir,
    net: Net,
    hosts: Mutex<Vec<Host>>,
    s3: OnceLock<S3>,
}

impl Lab {
    /// `story` names the directory of the evidence: `target/lab/<story>/`.
    pub fn new(story: &str) -> Lab {
        assert!(nix::unistd::geteuid().is_root(), "the lab needs root for containers and namespaces; run: make lab");
        let run = RunDir::create(story);
        let stage = stage_of(&run.name);
        own_mounts(&stage);
        let spawner = Spawner::start();
        let (name, dir) = (run.name.clone(), run.path.clone());
        let ground = Ground { story: story.to_owned(), name, dir, stage, spawner, started: Instant::now() };
        evidence::clear(story);
        println!("lab: {story}: starts");
        Lab { ground: Arc::new(ground), run, net: Net::create(), hosts: Mutex::default(), s3: OnceLock::new() }
    }

    /// A new host, booted. Hosts get the addresses 10.98.0.11, .12, ... in the order of their creation, and know each
    /// other (and `s3`) by name.
    pub fn host(&self, name: &str, suite: Suite) -> Host {
        let host = self.host_off(name, suite);
        host.boot();
        host
    }

    /// A new host that has not been booted yet: for volumes, credentials and kernel arguments of its first boot.
    pub fn host_off(&self, name: &str, suite: Suite) -> Host {
        let mut hosts = self.lock_hosts();
        assert!(hosts.iter().all(|h| h.name() != name), "there is a host {name} already");
        let address = self.net.attach(name, hosts.len());
        let host = Host::create(&self.ground, name, suite, &address);
        hosts.push(host.clone());
        let names: Vec<_> = hosts.iter().map(|h| (h.name().to_owned(), h.address().to_owned())).collect();
        hosts.iter().for_each(|h| h.write_names(&names));
        host
    }

    /// The S3 server on a host of its own; started when first asked for.
    pub fn s3(&self) -> &S3 {
        self.s3.get_or_init(|| S3::start(&self.ground))
    }

    /// Pulls the host's network cable.
    pub fn cut(&self, host: &Host) {
        self.net.set_link(host.name(), false);
    }

    /// Plugs it in again.
    pub fn heal(&self, host: &Host) {
        self.net.set_link(host.name(), true);
    }

    /// Pulls the store's network cable: connections to it hang. `S3::stop` refuses them instead.
    pub fn cut_s3(&self) {
        self.net.set_link(net::STORE, false);
    }

    pub fn heal_s3(&self) {
        self.net.set_link(net::STORE, true);
    }

    /// Drops or rejects, at this host, all packets to and from one address; several addresses add up.
    pub fn block(&self, host: &Host, address: &str, how: Block) {
        self.net.block(host.name(), address, how);
    }

    /// Takes back all that was blocked at this host.
    pub fn unblock(&self, host: &Host) {
        self.net.unblock(host.name());
    }

    /// The package under test: `LIFEBOAT_DEB`, if it is set.
    pub fn package(&self) -> Option<PathBuf> {
        product::package()
    }

    /// Name of this run: its cgroups and its directory in the cache are called like this.
    pub fn name(&self) -> &str {
        &self.ground.name
    }

    fn lock_hosts(&self) -> MutexGuard<'_, Vec<Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything down; what could not be done is returned.
    fn tear_down(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for host in self.lock_hosts().iter() {
            problems.extend(host.destroy());
        }
        if let Some(s3) = self.s3.get() {
            s3.destroy();
        }
        problems.extend(self.net.destroy());
        problems.extend(release(&self.ground.stage));
        cgroup::clear(&self.ground.name);
        self.run.remove();
        problems
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        // A second panic that leaves this function would end the process and hide the first.
        let quietly = |what: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(what)).is_err();
        if failed || std::env::var_os("LAB_KEEP").is_some() {
            quietly(&mut || evidence::keep(&self.ground, &self.lock_hosts(), self.s3.get()));
        }
        let mut problems = Vec::new();
        if quietly(&mut || problems = self.tear_down()) {
            problems.push("the lab could not be taken down; see above".to_owned());
        }
        let outcome = if failed { "FAILED" } else { "done" };
        println!("lab: {}: {outcome} after {:.1} s", self.ground.story, self.ground.started.elapsed().as_secs_f32());
        if problems.is_empty() {
            return;
        }
        let problems = problems.join("\n");
        if failed {
            eprintln!("lab: left behind:\n{problems}")
        } else {
            panic!("the lab has left something behind:\n{problems}")
        }
    }
}

/// A mount namespace for this thread and all that it starts, with memory of its own at the places where network
/// namespaces and containers are registered.
fn own_mounts(stage: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap_or_else(|e| panic!("cannot make a mount namespace: {e}"));
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .unwrap_or_else(|e| panic!("private mounts: {e}"));
    for place in places(stage) {
        fs::create_dir_all(&place).unwrap_or_else(|e| panic!("cannot create {}: {e}", place.display()));
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .unwrap_or_else(|e| panic!("cannot mount a tmpfs on {}: {e}", place.display()));
    }
}

fn places(stage: &Path) -> [PathBuf; 3] {
    [stage.to_owned(), "/run/netns".into(), "/run/systemd/nspawn".into()]
}

fn release(stage: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for place in places(stage) {
        if let Err(problem) = machine::try_run("umount", &["--recursive", machine::text(&place)]) {
            problems.push(problem);
            let _ = umount2(&place, MntFlags::MNT_DETACH);
        }
    }
    let _ = fs::remove_dir(stage);
    problems
}
