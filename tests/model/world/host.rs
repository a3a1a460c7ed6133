//! One host: its disk, its memory, and what its gate is in the middle of.

use super::{Cause, Config};

/// A member on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its cluster.
    pub cluster: u8,
    /// Which of the host's member ids in that cluster it is.
    pub number: u8,
    /// Entries in its log.
    pub index: u8,
    /// Writes that it holds.
    pub writes: u16,
    /// The configuration that it knows; all zero for a joining member that has received nothing.
    pub config: Config,
    /// Its URLs.
    pub new_urls: bool,
    /// Built and never started.
    pub virgin: bool,
}

/// What a host builds beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Staging {
    /// Index of the plan.
    pub generation: u8,
    /// It carries the nonce of this host's mark.
    pub of_mark: bool,
}

/// Where a host goes after it has withdrawn its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Follow the plan.
    Apply(u8),
    /// Join with the data of the plan.
    JoinWithData(u8),
    /// Join anew.
    JoinAnew(u8),
    /// Start after all, having stood in the roll call.
    Start,
    /// Put back what was moved aside for a plan that was taken back, having stood in the roll call.
    PutBack(u8),
}

impl Goal {
    pub fn generation(self) -> u8 {
        match self {
            Goal::Apply(g) | Goal::JoinWithData(g) | Goal::JoinAnew(g) | Goal::PutBack(g) => g,
            Goal::Start => 0,
        }
    }
}

/// A plan that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Making {
    pub generation: u8,
    pub cause: Cause,
    /// Index of the snapshot.
    pub snapshot: Option<u8>,
    pub request: Option<u8>,
    /// Its voters.
    pub members: u8,
}

/// How far a host has come. Between any two the world may change, and the host may crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Between two looks; a host that is switched off does not look.
    Gate,
    /// Decided that etcd may start; it has not yet.
    Starting,
    /// etcd runs.
    Running,
    /// Its learner runs, is caught up, and the voters with it are recorded.
    Promoting,
    /// The voters with it are in effect; that is to be recorded.
    Confirming,
    /// Built for a plan of its own.
    Built(Making),
    /// Has looked again; takes the marks of these hosts.
    Barring(Making, u8),
    /// Is about to withdraw its entry.
    Withdraw(Goal),
    /// Has withdrawn it; is about to look again.
    LookAgain(Goal),
    /// Is about to take its mark.
    Mark(Goal),
    /// Marked; is about to write its memory.
    Remember(Goal),
    /// Is about to move its old data aside.
    MoveAside(Goal),
    /// Is about to rename its staging into place.
    Rename(Goal),
    /// Joining anew: is about to record the voters without its old member.
    RecordRemoval(u8),
    /// Is about to remove its old member.
    Remove(u8),
    /// Is about to record that this is in effect.
    RecordRemoved(u8),
    /// Is about to add its learner and start it.
    AddLearner(u8),
    /// Decided by this rule to move its data aside.
    Quarantine,
    /// k3s: decided to make room for the seed of this plan.
    MakeRoom(u8),
    /// Decided to put its older data back.
    PutBack(u8),
    /// Gone for good, and its name with it.
    Gone,
}

/// A host's entry in the roll call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Entry {
    #[default]
    None,
    /// Renewed within its time.
    Fresh,
    /// Older than that.
    Stale,
    Withdrawn,
    /// Stands with its data, etcd stopped for this request.
    Stopped(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    pub phase: Phase,
    pub member: Option<Member>,
    /// Oldest first, with the plan that each was moved aside for; 0: for a join.
    pub aside: Vec<(u8, Member)>,
    pub staging: Option<Staging>,
    /// Bits of generations.
    pub started: u8,
    pub highest: u8,
    /// Bits of requests.
    pub consumed: u8,
    /// A request that is armed here.
    pub request: Option<u8>,
    pub request_failed: bool,
    /// Its host was set up anew with other peer URLs.
    pub new_urls: bool,
    pub entry: Entry,
    /// What the entry says of its memory.
    pub entry_remembers: bool,
    /// A renewal of its entry that may still arrive at the store.
    pub in_flight: bool,
}

/// An empty host.
pub fn blank_host() -> Host {
    Host {
        phase: Phase::Gate,
        member: None,
        aside: Vec::new(),
        staging: None,
        started: 0,
        highest: 0,
        consumed: 0,
        request: None,
        request_failed: false,
        new_urls: false,
        entry: Entry::None,
        entry_remembers: false,
        in_flight: false,
    }
}
