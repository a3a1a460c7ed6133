//! The store: SeaweedFS on a host of its own, as a user without rights. Two processes: one that keeps the data, and the
//! S3 gateway that hosts see; only the gateway goes down and comes back, since the other one takes its time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::clock_proxy::ClockProxy;
use super::lab::Ground;
use super::machine::{self, path, random_hex, run, text};
use super::net::{STORE, store_address};
use super::s3_client::inside;
use super::tools;
use super::wait::wait_for;

const PORT: u16 = 8333;
const CLOCK_PORT: u16 = 8444;

/// On the loopback of the store's host. Services that nobody needs are off, and so is its telemetry.
const BACKEND: [&str; 8] = [
    "server",
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-dir=data",
    "-filer",
    "-volume.max=50",
    "-master.volumeSizeLimitMB=1024",
    "-master.telemetry=false",
];
const GATEWAY: [&str; 5] = ["s3", "-ip=127.0.0.1", "-filer=127.0.0.1:8888", "-port.iceberg=0", "-port.lance=0"];

/// Version 4.48 puts sockets into /tmp whatever TMPDIR says: each process gets one of its own.
const LAUNCH: &str = r#"
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd "$1"; shift
exec setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
    --pdeathsig KILL -- "$@"
"#;

/// Credentials of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub access: String,
    pub secret: String,
}

impl Keys {
    fn new() -> Keys {
        Keys { access: format!("LAB{}", random_hex(8).to_uppercase()), secret: random_hex(20) }
    }
}

/// A real S3 server with one bucket, reached by the hosts at [`S3::endpoint`].
pub struct S3 {
    ground: Arc<Ground>,
    /// Where it stands, seen by the lab only: the cache may lie where `nobody` cannot go.
    dir: PathBuf,
    state: Mutex<State>,
    clock: OnceLock<ClockProxy>,
}

struct State {
    /// Keeps the data.
    backend: Option<Child>,
    /// Speaks S3.
    gateway: Option<Child>,
    /// Those that are valid, the newest last.
    keys: Vec<Keys>,
}

impl S3 {
    pub const BUCKET: &'static str = "snapshots";

    pub(super) fn start(ground: &Arc<Ground>) -> S3 {
        let start = Instant::now();
        let (disk, dir) = (ground.dir.join("s3"), ground.stage.join("s3"));
        for place in [&disk, &dir] {
            fs::create_dir_all(place).unwrap_or_else(|e| panic!("cannot create {}: {e}", place.display()));
        }
        run("mount", &["--bind", text(&disk), text(&dir)]);
        let program = ground.stage.join("weed");
        File::create(&program).expect("a mount point for weed");
        run("mount", &["--bind", text(&tools::weed()), text(&program)]);
        let state = State { backend: None, gateway: None, keys: vec![Keys::new()] };
        let s3 = S3 { ground: Arc::clone(ground), dir, state: Mutex::new(state), clock: OnceLock::new() };
        let backend = ground.spawner.spawn(s3.weed("backend", &BACKEND));
        s3.lock().backend = Some(backend);
        s3.start_again();
        s3.create_bucket();
        println!("lab: {}: the store is up after {:.1} s", ground.story, start.elapsed().as_secs_f32());
        s3
    }

    /// URL for hosts, and for this process inside the store's network namespace.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{PORT}", store_address())
    }

    /// The newest credentials.
    pub fn keys(&self) -> Keys {
        self.lock().keys.last().expect("one at least").clone()
    }

    /// The same server behind a clock that can be wrong, at an endpoint of its own.
    pub fn clock(&self) -> &ClockProxy {
        self.clock.get_or_init(|| ClockProxy::start(&store_address(), CLOCK_PORT, PORT))
    }

    /// SIGKILL: connections are refused from now on, those of the clock proxy too.
    pub fn stop(&self) {
        let mut gateway = self.lock().gateway.take().expect("the store is up");
        let _ = gateway.kill();
        let _ = gateway.wait();
    }

    /// Starts it again on the same data, and waits until it answers.
    pub fn start_again(&self) {
        let mut state = self.lock();
        assert!(state.gateway.is_none(), "the store is up");
        self.write_identities(&state.keys);
        let mut args: Vec<String> = GATEWAY.map(String::from).into();
        args.push(format!("-ip.bind={}", store_address()));
        args.push(format!("-port={PORT}"));
        args.push(format!("-config={}", self.dir.join("s3.json").display()));
        state.gateway = Some(self.ground.spawner.spawn(self.weed("gateway", &args)));
        drop(state);
        wait_for("the store to answer", Duration::from_secs(60), || {
            let state = &mut *self.lock();
            for (name, process) in [("backend", &mut state.backend), ("gateway", &mut state.gateway)] {
                let ended = process.as_mut().and_then(|p| p.try_wait().expect("wait for weed"));
                assert!(ended.is_none(), "SeaweedFS' {name} ended: {ended:?}\n{}", self.log(name));
            }
            // It listens before it can store anything, and refuses strangers once it can.
            inside(STORE, || answers_strangers(&store_address())).then_some(())
        });
    }

    /// Stops it where it is: connections are accepted, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// A new identity, which `keys` returns from now on; the others stay valid until they are revoked.
    pub fn add_keys(&self) -> Keys {
        let keys = Keys::new();
        self.lock().keys.push(keys.clone());
        self.reload();
        keys
    }

    /// All identities but the newest are refused from now on.
    pub fn revoke_old_keys(&self) {
        let mut state = self.lock();
        let all = state.keys.len();
        state.keys.drain(..all - 1);
        drop(state);
        self.reload();
    }

    /// SeaweedFS reads its identities when it starts: the store is away for a moment.
    fn reload(&self) {
        self.stop();
        self.start_again();
    }

    /// What its processes have printed.
    pub(super) fn log(&self, process: &str) -> String {
        let log = self.dir.join(process).join("log");
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// Unmounted with the lab's other mounts.
    pub(super) fn destroy(&self) {
        if let Some(clock) = self.clock.get() {
            clock.stop();
        }
        let mut state = self.lock();
        for mut process in [state.gateway.take(), state.backend.take()].into_iter().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.lock().gateway.as_ref().expect("the store is up").id();
        kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), signal).expect("a signal to the store");
    }

    /// A process of SeaweedFS in a directory of its own.
    fn weed<A: AsRef<str>>(&self, name: &str, args: &[A]) -> Command {
        let dir = self.dir.join(name);
        fs::create_dir_all(dir.join("data")).expect("a directory of the store");
        run("chown", &["-R", "nobody:nogroup", text(&dir)]);
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log of the store");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter", &format!("--net=/run/netns/{STORE}"), "--"]);
        command.args(["unshare", "--mount", "--propagation", "private", "--", "sh", "-euc", LAUNCH, "launch"]);
        command.arg(&dir).arg(self.ground.stage.join("weed")).args(args.iter().map(AsRef::as_ref));
        command.env_clear().env("PATH", path()).env("HOME", &dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        command
    }

    fn write_identities(&self, keys: &[Keys]) {
        let identity = |(n, keys): (usize, &Keys)| {
            serde_json::json!({
                "name": format!("lab-{n}"),
                "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            })
        };
        let identities: Vec<_> = keys.iter().enumerate().map(identity).collect();
        let text = serde_json::json!({ "identities": identities }).to_string();
        fs::write(self.dir.join("s3.json"), text).expect("the identities of the store");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answers_strangers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect((address, PORT)) else { return false };
    let asked = stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .and_then(|()| stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()));
    let mut head = [0; 64];
    let read = asked.and_then(|()| stream.read(&mut head)).unwrap_or(0);
    String::from_utf8_lossy(head.get(..read).unwrap_or_default()).lines().next().is_some_and(|l| l.contains(" 403 "))
}
