//! Requests for a one-shot restore: a file, the kernel command line, a system credential.
//!
//! The file is the most recent word of a person and comes first; then the kernel command line, then the credential. One restore is done at a time:
//! what else was armed when its plan was made is done with, too, or it would undo at once what was just restored.
//! Nothing here decides, and what cannot be read is never "no request".

mod credential;
mod file;
mod kernel;
mod value;

use std::path::Path;

pub use credential::Credential;
pub use file::RequestFile;
pub use kernel::KernelCommandLine;

use super::MemoryFile;
use crate::core::facts::{Memory, Observed, Request};
use crate::error::{Error, Kind, Result};
use value::Found;

/// Where requests come from.
#[derive(Debug, Clone)]
pub struct RequestSources {
    /// The file that `lifeboat restore-once` writes.
    pub file: RequestFile,
    /// The kernel command line.
    pub kernel: KernelCommandLine,
    /// The system credential.
    pub credential: Credential,
}

/// What was seen of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The first request; unknown when any source is.
    pub request: Observed<Option<Request>>,
    /// The others, in their order.
    pub also: Vec<Request>,
    /// What is there and not acted on.
    pub remarks: Vec<String>,
}

impl RequestSources {
    /// The request file at `path`, and the other sources of this host. `credentials`: systemd's directory of this process.
    pub fn of_this_host(path: &Path, credentials: Option<std::path::PathBuf>) -> Self {
        RequestSources {
            file: RequestFile::new(path),
            kernel: KernelCommandLine::of_this_host(),
            credential: Credential::of_this_host(credentials),
        }
    }

    /// Those beside the file: they cannot be removed, only be done with.
    fn lasting(&self) -> [Found; 2] {
        [self.kernel.observe(), self.credential.observe()]
    }

    /// Reads all of them. What cannot be understood and was taken back by a person (`memory`) is only remarked on.
    pub(super) fn observe(&self, memory: &Observed<Memory>) -> Seen {
        let done_with = |id: &str| memory.known().is_some_and(|m| m.consumed.iter().any(|c| c == id));
        let (mut asked, mut remarks, mut unknown) = (Vec::new(), Vec::new(), None);
        match self.file.observe() {
            Observed::Known(request) => asked.extend(request),
            Observed::Unknown(cause) => unknown = Some(cause),
        }
        for found in self.lasting() {
            match found {
                Found::Nothing => {}
                Found::Remark(text) => remarks.push(text),
                Found::Asked(request) => asked.push(request),
                Found::Malformed { id, cause } if done_with(&id) => {
                    remarks.push(format!("{}; it was taken back, and is ignored", cause.text));
                }
                Found::Malformed { cause, .. } | Found::Unknown(cause) => unknown = unknown.or(Some(cause)),
            }
        }
        let mut asked = asked.into_iter();
        match unknown {
            Some(cause) => Seen { request: Observed::Unknown(cause), also: asked.collect(), remarks },
            None => Seen { request: Observed::Known(asked.next()), also: asked.collect(), remarks },
        }
    }

    /// All requests that are armed, whatever became of them; for people.
    pub fn armed(&self) -> Vec<Request> {
        let seen = self.observe(&Observed::Known(Memory::default()));
        let first = seen.request.known().cloned().flatten();
        first.into_iter().chain(seen.also).collect()
    }

    /// Takes back what is asked for: removes the file, and notes the others as done with on this host. Says what it did, one line each.
    ///
    /// # Errors
    /// When something cannot be read, removed or noted; what could be done is done.
    pub fn take_back(&self, memory: &MemoryFile) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let there = self.file.path().symlink_metadata().is_ok();
        // Noted before it is gone: a gate that has read it already looks here right before it writes a plan for it.
        let noted = match self.file.observe() {
            Observed::Known(Some(request)) => memory.consumed(&request.id),
            _ => Ok(()),
        };
        self.file.remove()?;
        noted?;
        if there {
            done.push(format!("{} is removed", self.file.path().display()));
        }
        let mut unreadable = None;
        for found in self.lasting() {
            let (id, what) = match found {
                Found::Nothing | Found::Remark(_) => continue,
                Found::Asked(r) => (r.id.clone(), format!("{:?} in {} (id {})", r.snapshot, r.found_in, r.id)),
                Found::Malformed { id, cause } => (id, cause.text),
                Found::Unknown(cause) => {
                    unreadable = Some(cause);
                    continue;
                }
            };
            if !memory.observe().known().is_some_and(|m| m.consumed.contains(&id)) {
                memory.consumed(&id)?;
                done.push(format!("this host does not act on it any more, as long as it stays as it is: {what}"));
            }
        }
        match unreadable {
            None => Ok(done),
            Some(cause) => {
                let e = Error::new(
                    Kind::Io,
                    format!("whether a restore is asked for elsewhere is not known: {}", cause.text),
                );
                Err(match cause.hint {
                    Some(hint) => e.hint(hint),
                    None => e,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::facts::RequestSource;

    #[test]
    fn all_sources_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let sources = RequestSources {
            file: RequestFile::new(&at("restore-once")),
            kernel: KernelCommandLine::at(&at("cmdline")),
            credential: Credential::at(vec![at("credential")]),
        };
        let memory = MemoryFile::new(&at("state"));
        let see = || sources.observe(&memory.observe());
        assert!(matches!(see().request, Observed::Unknown(_)), "no /proc is not no request");
        assert!(sources.take_back(&memory).is_err());
        std::fs::write(at("cmdline"), "ro quiet\n").unwrap();
        assert_eq!(see(), Seen { request: Observed::Known(None), also: vec![], remarks: vec![] });
        assert_eq!(sources.take_back(&memory).unwrap(), Vec::<String>::new());
        assert!(!at("state").exists(), "nothing was asked, nothing is remembered");

        std::fs::write(at("cmdline"), "ro lifeboat.restore=b\n").unwrap();
        std::fs::write(at("credential"), "c,id=1").unwrap();
        sources.file.arm("a").unwrap();
        let seen = see();
        let all: Vec<_> = seen.request.known().cloned().flatten().into_iter().chain(seen.also.clone()).collect();
        assert_eq!(all.iter().map(|r| r.snapshot.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(
            all.iter().map(|r| r.source).collect::<Vec<_>>(),
            [RequestSource::File, RequestSource::KernelCommandLine, RequestSource::Credential]
        );
        assert_eq!(sources.armed(), all);

        // One that cannot be understood makes all of it unknown, until a person takes it back.
        std::fs::write(at("credential"), "c,d").unwrap();
        let seen = see();
        assert!(matches!(&seen.request, Observed::Unknown(c) if c.text.contains("credential")), "{seen:?}");
        assert_eq!(seen.also.len(), 2);
        let done = sources.take_back(&memory).unwrap();
        assert_eq!(done.len(), 3, "{done:?}");
        let seen = see();
        assert_eq!(seen.request.known().cloned().flatten().map(|r| r.id), Some("cmdline:b".to_owned()));
        assert!(seen.remarks[0].contains("taken back"), "{seen:?}");
        let consumed = memory.observe().known().cloned().unwrap().consumed;
        assert!(consumed.contains(&"cmdline:b".to_owned()) && consumed.contains(&all[0].id), "{consumed:?}");
        assert_eq!(sources.take_back(&memory).unwrap(), Vec::<String>::new(), "once is enough");
        // Another mistake is another request.
        std::fs::write(at("credential"), "c,e").unwrap();
        assert!(matches!(see().request, Observed::Unknown(_)));
    }
}
