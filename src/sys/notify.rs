//! Tells systemd how the service is doing (sd_notify(3)).
//!
//! It exists so that callers need not know whether they run under systemd: without `NOTIFY_SOCKET` everything here
//! does nothing. A message that cannot be sent is logged, since nobody can act on it. It may not decide anything.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use sd_notify::NotifyState;

/// systemd takes a message at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a status. systemd reads no notification of more than 4 KiB at all, and nobody reads a status of that length.
const LONGEST_STATUS: usize = 1024;

/// The connection to the service manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notify;

impl Notify {
    /// A new one. Nothing is sent before the first call.
    pub fn new() -> Self {
        Notify
    }

    /// `READY=1`: start-up, or a reload, is finished.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// `STATUS=`: one line for `systemctl status`; line breaks become blanks, and it is cut at 1 KiB.
    pub fn status(&self, text: &str) {
        let mut line = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len() + c.len_utf8() > LONGEST_STATUS {
                break;
            }
            line.push(c);
        }
        send(&[NotifyState::Status(&line)]);
    }

    /// `WATCHDOG=1`: still alive.
    pub fn watchdog(&self) {
        send(&[NotifyState::Watchdog]);
    }

    /// `STOPPING=1`: a stop has begun.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// `RELOADING=1` with the monotonic time that systemd 253 and newer require; [`Notify::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(e) => tracing::warn!("cannot read the monotonic clock for systemd: {e}"),
        }
    }

    /// How often [`Notify::watchdog`] is to be called: half of what the unit's `WatchdogSec=` allows. `None`: the unit
    /// has none.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
    }
}

/// Waits until it is sent, but not for a service manager that does not read: a gate, or a snapshot, would hang with it.
fn send(states: &[NotifyState<'_>]) {
    let Some(sender) = SENDER.get_or_init(start) else { return };
    let text: Vec<String> = states.iter().map(ToString::to_string).collect();
    let (sent, told) = sync_channel(1);
    match sender.try_send((text.join("\n"), sent)) {
        Ok(()) => {
            // What is not taken in time is still on its way.
            let _ = told.recv_timeout(PATIENCE);
        }
        Err(_) => tracing::debug!("systemd does not read what it is told; a message was left out"),
    }
}

type Message = (String, SyncSender<()>);

static SENDER: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();

fn start() -> Option<SyncSender<Message>> {
    let (sender, messages) = sync_channel::<Message>(1);
    let started = Builder::new().name("notify".to_owned()).spawn(move || {
        for (text, sent) in messages {
            if let Err(e) = sd_notify::notify(&[NotifyState::Custom(&text)]) {
                tracing::warn!("cannot notify systemd through NOTIFY_SOCKET: {e}");
            }
            // Nobody waits any more: it took too long.
            let _ = sent.send(());
        }
    });
    match started {
        Ok(_) => Some(sender),
        Err(e) => {
            tracing::warn!("systemd is told nothing: cannot start a thread: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Output;

    use super::*;

    const CHILD: &str = "sys::notify::tests::what_the_child_sends";
    const TALKATIVE: &str = "sys::notify::tests::what_a_talkative_child_sends";

    /// Runs [`what_the_child_sends`] in a process of its own: the variables are those of the whole process.
    fn child(env: &[(&str, &str)]) -> Output {
        child_named(CHILD, env)
    }

    #[allow(clippy::disallowed_methods, reason = "a test that needs a process with another environment")]
    fn child_named(name: &str, env: &[(&str, &str)]) -> Output {
        let exe = std::env::current_exe().unwrap();
        std::process::Command::new(exe)
            .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_PID")
            .env("WATCHDOG_USEC", "3000000")
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    #[test]
    #[ignore = "started by the other tests, in a process of its own: cargo test --lib sys::notify"]
    fn what_the_child_sends() {
        let notify = Notify::new();
        println!("interval {:?}", notify.watchdog_interval());
        notify.ready();
        notify.status("next run\nat noon");
        // Characters of three bytes: a thousand of them would not fit.
        notify.status(&"€".repeat(2000));
        notify.watchdog();
        notify.reloading();
        notify.stopping();
    }

    #[test]
    fn systemd_gets_each_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let output = child(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("interval Some(1.5s)"), "{output:?}");
        socket.set_nonblocking(true).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(n) = socket.recv(&mut buffer) {
            got.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        let long = got.remove(2);
        assert_eq!(long, format!("STATUS={}\n", "€".repeat(1024 / 3)));
        let reload = got.remove(3);
        assert_eq!(got, ["READY=1\n", "STATUS=next run at noon\n", "WATCHDOG=1\n", "STOPPING=1\n"]);
        assert!(reload.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reload}");
    }

    #[test]
    #[ignore = "started by another test, in a process of its own: cargo test --lib sys::notify"]
    fn what_a_talkative_child_sends() {
        let notify = Notify::new();
        for n in 0..5000 {
            notify.status(&format!("{n}"));
        }
    }

    /// Its queue is full after some messages, and nobody empties it.
    #[test]
    fn a_systemd_that_does_not_read_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (done, ended) = sync_channel(1);
        let socket_of_child = path.to_str().unwrap().to_owned();
        std::thread::spawn(move || done.send(child_named(TALKATIVE, &[("NOTIFY_SOCKET", &socket_of_child)])));
        let output = ended.recv_timeout(Duration::from_secs(60)).expect("it hangs");
        assert!(output.status.success(), "{output:?}");
        drop(socket);
    }

    #[test]
    fn without_systemd_nothing_happens() {
        for env in [&[][..], &[("NOTIFY_SOCKET", "/does/not/exist")]] {
            let output = child(env);
            assert!(output.status.success(), "{output:?}");
        }
    }
}
