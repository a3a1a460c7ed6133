//! A variant: which world it begins with, and what may happen in it.

use super::world::World;

/// What is switched off, to show what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// The started mark before a plan is applied.
    MarkAtApply,
    /// The started mark before a live cluster is joined.
    MarkAtJoin,
    /// The same, when the host joins with a new member id.
    MarkAtJoinAnew,
    /// D7: healthy data starts.
    HealthyStarts,
    /// A fresh token in each life.
    FreshToken,
    /// P1: an unknown store is not an empty one.
    StoreUnknown,
    /// A majority of the recorded voters must stand in the roll call.
    RecordedVoters,
    /// R1 looks whether the plan's snapshot is still the best.
    StillTheBest,
    /// The entry in the roll call is withdrawn before a host applies or joins.
    WithdrawnEntries,
    /// The seed takes the marks of the hosts that it counts.
    MarksTakenBySeed,
    /// A renewal of an entry never arrives after the withdrawal that followed it. Only k3s rests on that.
    RenewalsInOrder,
    /// What is put back after a plan was taken back is what was moved aside for it.
    PutBackItsOwn,
    /// Voters are recorded before a member is removed or promoted, not after it.
    VotersBefore,
    /// P2: a young heartbeat means that a cluster lives elsewhere.
    FreshHeartbeat,
}

/// A bounded world.
#[derive(Debug, Clone)]
pub struct Variant {
    pub name: &'static str,
    pub begin: World,
    /// k3s: one node restores, the others join it.
    pub k3s: bool,
    pub static_seed: Option<usize>,
    /// The store has conditional writes. Without: only the static seed may plan, and two writers of a mark overwrite each other.
    pub conditional: bool,
    /// Any subset of the others may answer a look, not only all or none.
    pub partial_views: bool,
    /// Between the decision to start and the start the world may change.
    pub late_starts: bool,
    /// A replaced host comes back with other peer URLs.
    pub change_urls: bool,
    /// Snapshots reach the store some time after they were taken.
    pub spooled: bool,
    /// A heartbeat is written.
    pub heartbeat: bool,
    /// Members that the configuration names; 0: all hosts. The others have no gate: etcd starts there as it is.
    pub members: u8,
    /// `expected_members`: the roll call tells who the members are.
    pub expected: Option<u8>,
    /// The configuration names the snapshot `s0`.
    pub pinned: bool,
    /// Requests name this snapshot; none: the latest.
    pub requested: Option<u8>,
    /// A life that a plan has declared dead must not serve again. Not asked where entries may arrive late: see tests/README.md.
    pub dead_stay_dead: bool,
    /// No plan that nobody asked for is made beside a life that serves. Not asked where entries may arrive late: see tests/README.md.
    pub none_beside: bool,
    pub without: Option<Safeguard>,
    /// The invariant that breaks without it.
    pub breaks: &'static str,
}

impl Variant {
    pub fn new(name: &'static str, begin: World) -> Self {
        Variant {
            name,
            begin,
            k3s: false,
            static_seed: None,
            conditional: true,
            partial_views: false,
            late_starts: false,
            change_urls: false,
            spooled: false,
            heartbeat: false,
            members: 0,
            expected: None,
            pinned: false,
            requested: None,
            dead_stay_dead: true,
            none_beside: true,
            without: None,
            breaks: "",
        }
    }

    /// No host is special by the configuration.
    pub fn symmetric(&self) -> bool {
        self.static_seed.is_none() && self.members == 0 && self.expected.is_none()
    }

    pub fn configured(&self, hosts: u8) -> u8 {
        if self.members == 0 { (1 << hosts) - 1 } else { self.members }
    }

    /// Whether lifeboat runs on this host.
    pub fn gated(&self, h: usize) -> bool {
        self.members == 0 || self.members & (1 << h) != 0
    }

    pub fn lacks(&self, safeguard: Safeguard) -> bool {
        self.without == Some(safeguard)
    }
}
