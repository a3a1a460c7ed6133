//! Starts the processes that live as long as the lab.

use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError, mpsc};

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// A thread that starts processes. A death signal follows the *thread* that started a process, so that a host that a
/// short-lived thread of a story boots would die with that thread; this one lives as long as the lab, in its namespaces.
pub(super) struct Spawner(Mutex<mpsc::Sender<Order>>);

impl Spawner {
    pub(super) fn start() -> Spawner {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Spawner(Mutex::new(orders))
    }

    pub(super) fn spawn(&self, command: Command) -> Child {
        let shown = format!("{command:?}");
        let (answer, child) = mpsc::channel();
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
        sent.expect("the spawning thread runs");
        child.recv().expect("an answer").unwrap_or_else(|e| panic!("cannot start {shown}: {e}"))
    }
}
