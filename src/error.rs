//! The one error type that commands return: what went wrong, with which object, why, and what to type next.
//!
//! It exists so that every failure ends in one message of the same shape and one documented exit code.
//! It may not print, log or exit; `main` does that.

use std::error::Error as StdError;
use std::fmt;

/// The class of a failure. It decides the exit code and is the (bounded) label of metrics and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong, or a file that it names is.
    Config,
    /// Something must be chosen by a person; nothing was changed.
    Refused,
    /// The `--deadline` passed before a decision was possible.
    Undecided,
    /// A snapshot or record is not what it should be (digest, structure, signature).
    Verification,
    /// The snapshot store failed or did not answer.
    Store,
    /// etcd failed or did not answer.
    Etcd,
    /// A local file or directory could not be read or written.
    Io,
    /// What was asked for does not exist.
    NotFound,
    /// A defect of this program.
    Internal,
}

impl Kind {
    /// The exit code of the process (design, section 8).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Store | Kind::Etcd | Kind::Io | Kind::NotFound | Kind::Internal => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Undecided => 4,
            Kind::Verification => 5,
            Kind::Config => 78,
        }
    }

    /// A stable, short name: metric label and `KIND` field of events.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Config => "config",
            Kind::Refused => "refused",
            Kind::Undecided => "undecided",
            Kind::Verification => "verification",
            Kind::Store => "store",
            Kind::Etcd => "etcd",
            Kind::Io => "io",
            Kind::NotFound => "not_found",
            Kind::Internal => "internal",
        }
    }
}

/// A failure: a message that names its object, the causes behind it, and a hint that says what to type next.
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

/// Short for a result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new failure. `message` names the object (path, key, endpoint, field); it never holds a secret.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what the user can type or change next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause. Its own chain of sources is kept.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync + 'static>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Wraps this error in another message of the same kind, keeping the hint on top.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let hint = self.hint.take();
        Error { kind: self.kind, message: message.into(), hint, source: Some(Box::new(self)) }
    }

    /// The class of this failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The top message alone, without causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to type next, if that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What to type next: the hint, else that of a cause, else what the operating system's own error calls for.
    pub fn advice(&self) -> Option<String> {
        if let Some(hint) = &self.hint {
            return Some(hint.clone());
        }
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            if let Some(hint) = cause.downcast_ref::<Error>().and_then(Error::hint_text) {
                return Some(hint.to_owned());
            }
            if let Some(hint) = cause.downcast_ref::<std::io::Error>().and_then(of_the_system) {
                return Some(hint.to_owned());
            }
            next = cause.source();
        }
        None
    }

    /// The same failure under another class, for a caller who knows better whose fault it is.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The messages of the causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many libraries repeat their source in their own text.
            if out.last().is_none_or(|last: &String| !last.contains(&text)) {
                out.push(text);
            }
            next = cause.source();
        }
        out
    }

    /// The message and its causes on one line.
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        for cause in self.causes() {
            line.push_str(": ");
            line.push_str(&cause);
        }
        line.replace('\n', " ")
    }
}

/// What a person can do about an error of the operating system. Short: the message names the object.
fn of_the_system(e: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind;
    Some(match e.kind() {
        ErrorKind::PermissionDenied => "run it as root, or give this user access to that path: namei -l PATH",
        ErrorKind::NotFound => "correct the path, or create what is missing on it: namei -l PATH",
        ErrorKind::NotADirectory => "a file stands where a directory is needed: correct the path",
        ErrorKind::IsADirectory => "a directory stands where a file is needed: correct the path",
        ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only: findmnt -T PATH, then look at dmesg",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room there, then type the same again: df -h PATH",
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.one_line())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn StdError + 'static))
    }
}

/// Turns any error of a library into ours, with the object named.
pub trait ResultExt<T> {
    /// `message` is built only on failure.
    ///
    /// # Errors
    /// The wrapped error, when `self` is one.
    fn or_fail<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E> ResultExt<T> for std::result::Result<T, E>
where
    E: StdError + Send + Sync + 'static,
{
    fn or_fail<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|e| Error::new(kind, message()).caused_by(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_outermost_first_and_not_twice() {
        let io = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "permission denied");
        let e = Error::new(Kind::Io, "cannot open /a").caused_by(io).hint("run as root").context("cannot save");
        assert_eq!(e.one_line(), "cannot save: cannot open /a: permission denied");
        assert_eq!(e.hint_text(), Some("run as root"));
        assert_eq!(e.kind().exit_code(), 1);
    }

    #[test]
    fn advice_comes_from_the_nearest_that_has_one() {
        let io = || std::io::Error::from_raw_os_error(nix::libc::EROFS);
        let plain = Error::new(Kind::Io, "cannot write /a").caused_by(io());
        assert!(plain.advice().is_some_and(|a| a.contains("read-only")), "{plain:?}");
        let inner = Error::new(Kind::Io, "cannot write /a").caused_by(io()).hint("use /b");
        let outer = Error::new(Kind::Store, "cannot save").caused_by(inner);
        assert_eq!(outer.advice().as_deref(), Some("use /b"));
        assert_eq!(Error::new(Kind::Io, "x").advice(), None);
        assert_eq!(Error::new(Kind::Config, "x").of_kind(Kind::Usage).kind(), Kind::Usage);
    }
}
