//! A reader whose progress and failure are seen from outside, while a restore consumes it on another thread.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::fetch::error_of;
use crate::error::Error;

/// The reader.
pub struct Watched<R> {
    inner: R,
    watch: Watch,
}

/// The view from outside.
#[derive(Clone, Default)]
pub struct Watch {
    done: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<Error>>>,
}

impl<R: Read> Watched<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> (Self, Watch) {
        let watch = Watch::default();
        (Watched { inner, watch: watch.clone() }, watch)
    }
}

impl Watch {
    /// Bytes read so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The failure of the source, if it was that; else the failure of whoever read from it.
    pub fn explain(&self, failure: Error) -> Error {
        self.failed.lock().ok().and_then(|mut slot| slot.take()).unwrap_or(failure)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buf) {
            Ok(n) => {
                self.watch.done.fetch_add(n as u64, Ordering::Relaxed);
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                let kind = e.kind();
                let ours = error_of(e, || "reading the snapshot failed".to_owned());
                let text = ours.one_line();
                if let Ok(mut slot) = self.watch.failed.lock() {
                    *slot = Some(ours);
                }
                Err(io::Error::new(kind, text))
            }
        }
    }
}
