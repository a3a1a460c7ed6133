//! Faults on demand: which request goes wrong, how, and what was asked.

use std::sync::Mutex;
use std::time::Duration;

/// The kinds of request, as far as tests tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// In a rule: every kind.
    Any,
    Put,
    Get,
    Head,
    Delete,
    List,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    /// HEAD of the bucket, and whatever else there is.
    Other,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens but this answer: HTTP status and S3 error code.
    Status(u16, &'static str),
    /// 200 with an error document in the body, as S3 answers a completion that failed late. Nothing happens.
    ErrorIn200(&'static str),
    /// No answer, ever. Nothing happens.
    Hang,
    /// The connection is reset before the request is looked at.
    Reset,
    /// The request is carried out; then the connection is reset instead of answered.
    LoseAnswer,
    /// The request is carried out; then there is no answer, ever.
    HangAnswer,
    /// The answer's body ends with a reset after so many bytes, though more were announced.
    CutBody(usize),
    /// The answer's body stops after so many bytes, and the connection stays open.
    StallBody(usize),
    /// One bit of the answer's body is wrong: in the byte at this offset.
    FlipBit(usize),
    /// The request is carried out after so long.
    Delay(Duration),
}

/// One request that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it asked for.
    pub op: Op,
    /// The key; the prefix for listings.
    pub key: String,
    /// Its content is not part of its signature.
    pub unsigned: bool,
    /// What it was answered with, if no fault.
    pub fault: Option<Fault>,
}

struct Rule {
    op: Op,
    key: String,
    skip: u32,
    left: u32,
    fault: Fault,
}

type Hook = Box<dyn FnMut(Op, &str) -> Option<Fault> + Send>;

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    hook: Option<Hook>,
    seen: Vec<Seen>,
}

/// The list of what goes wrong. Rules are tried in order; the first that matches applies. `key` matches as a substring.
#[derive(Default)]
pub struct Faults(Mutex<Inner>);

impl Faults {
    /// The next matching request fails.
    pub fn once(&self, op: Op, key: &str, fault: Fault) {
        self.add(op, key, 0, 1, fault);
    }

    /// The next `n` matching requests fail.
    pub fn times(&self, n: u32, op: Op, key: &str, fault: Fault) {
        self.add(op, key, 0, n, fault);
    }

    /// Every matching request fails until [`Faults::clear`].
    pub fn always(&self, op: Op, key: &str, fault: Fault) {
        self.add(op, key, 0, u32::MAX, fault);
    }

    /// `skip` matching requests pass, then `n` fail.
    pub fn add(&self, op: Op, key: &str, skip: u32, n: u32, fault: Fault) {
        self.lock().rules.push(Rule { op, key: key.to_owned(), skip, left: n, fault });
    }

    /// Asks `hook` for every request that no rule matched.
    pub fn with(&self, hook: impl FnMut(Op, &str) -> Option<Fault> + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }

    /// Nothing goes wrong from now on. What was seen is kept.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.rules.clear();
        inner.hook = None;
    }

    /// Every request so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// How many requests of this kind were seen for keys that contain `key`.
    pub fn count(&self, op: Op, key: &str) -> usize {
        self.lock().seen.iter().filter(|s| matches(op, key, s.op, &s.key)).count()
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.lock().seen.clear();
    }

    /// Records a request and tells what goes wrong with it.
    pub(super) fn judge(&self, op: Op, key: &str, unsigned: bool) -> Option<Fault> {
        let mut inner = self.lock();
        let Inner { rules, hook, seen } = &mut *inner;
        let mut fault = None;
        if let Some(rule) = rules.iter_mut().find(|r| r.left > 0 && matches(r.op, &r.key, op, key)) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else {
                if rule.left != u32::MAX {
                    rule.left -= 1;
                }
                fault = Some(rule.fault.clone());
            }
        } else if let Some(hook) = hook {
            fault = hook(op, key);
        }
        seen.push(Seen { op, key: key.to_owned(), unsigned, fault: fault.clone() });
        fault
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn matches(rule_op: Op, rule_key: &str, op: Op, key: &str) -> bool {
    (rule_op == Op::Any || rule_op == op) && key.contains(rule_key)
}
