//! Joining in the place of this slot's old member: what is changed in the cluster rests on what is so now. The members are stand-ins.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::*;
use crate::core::facts::CauseCode;
use crate::core::model::{ClusterId, MemberId, Revision};
use crate::core::plan::tests::{sample_plan, voters};
use crate::core::plan::{Plan, VotersRecord};
use crate::ports::{
    Etcd, EtcdError, EtcdErrorKind, EtcdResult, Member, MemberStatus, Membership, Peer, PeerAnswer, SnapshotStream,
};

const CLUSTER: ClusterId = ClusterId(0xc1);

fn url(name: &str) -> String {
    format!("http://{name}:2380")
}

/// A cluster of three; cp1's member is down at first.
struct World {
    members: Vec<Member>,
    /// Members that answer; they do so on their client and peer ports.
    up: BTreeSet<u64>,
    /// cp1's old member comes back before it is asked for the n-th time on this kind of port.
    back_before: Option<(&'static str, u32)>,
    asked: u32,
    removed: Vec<u64>,
    /// How linearizable reads fail; they are answered otherwise.
    reads: Option<EtcdErrorKind>,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn new(back_before: Option<(&'static str, u32)>) -> Shared {
        let member = |id: u64| Member {
            id: MemberId(id),
            name: format!("cp{id}"),
            peer_urls: vec![url(&format!("cp{id}"))],
            client_urls: vec![],
            is_learner: false,
        };
        let members = (1..=3).map(member).collect();
        let up = BTreeSet::from([2, 3]);
        Arc::new(Mutex::new(World { members, up, back_before, asked: 0, removed: vec![], reads: None }))
    }

    fn answers(&mut self, id: u64, port: &str) -> EtcdResult<()> {
        if id == 1 && self.back_before.is_some_and(|(kind, _)| kind == port) {
            self.asked += 1;
            if self.back_before.is_some_and(|(_, n)| self.asked >= n) {
                self.up.insert(1);
            }
        }
        let refused =
            || EtcdError { kind: EtcdErrorKind::Unreachable, text: format!("{port} {id}: refused"), hint: None };
        self.up.contains(&id).then_some(()).ok_or_else(refused)
    }
}

struct Client(u64, String, Shared);

impl Client {
    fn answers(&self) -> EtcdResult<()> {
        self.2.lock().unwrap().answers(self.0, "client")
    }
}

#[async_trait]
impl Etcd for Client {
    fn endpoint(&self) -> &str {
        &self.1
    }

    async fn status(&self) -> EtcdResult<MemberStatus> {
        self.answers()?;
        Ok(MemberStatus {
            cluster_id: CLUSTER,
            member_id: MemberId(self.0),
            version: "3.5.30".into(),
            storage_version: None,
            revision: Revision(1),
            db_size: 1,
            raft_term: 1,
            raft_index: 1,
            leader: Some(MemberId(2)),
            is_learner: false,
            errors: vec![],
        })
    }

    async fn linearizable_read(&self) -> EtcdResult<Revision> {
        match self.2.lock().unwrap().reads {
            Some(kind) => Err(EtcdError { kind, text: format!("etcd {}: no reads for you", self.1), hint: None }),
            None => Ok(Revision(1)),
        }
    }

    async fn members(&self) -> EtcdResult<Vec<Member>> {
        Ok(self.2.lock().unwrap().members.clone())
    }

    async fn snapshot(&self) -> EtcdResult<Box<dyn SnapshotStream>> {
        Err(EtcdError { kind: EtcdErrorKind::Failed, text: "not here".into(), hint: None })
    }

    async fn hash_kv(&self, _: Revision) -> EtcdResult<(u32, Revision)> {
        Err(EtcdError { kind: EtcdErrorKind::Failed, text: "not here".into(), hint: None })
    }
}

#[async_trait]
impl Membership for Client {
    async fn add_learner(&self, peer_urls: &[String]) -> EtcdResult<(MemberId, Vec<Member>)> {
        let mut world = self.2.lock().unwrap();
        let (id, peer_urls) = (MemberId(4), peer_urls.to_vec());
        world.members.push(Member { id, name: String::new(), peer_urls, client_urls: vec![], is_learner: true });
        Ok((id, world.members.clone()))
    }

    async fn promote(&self, _: MemberId) -> EtcdResult<()> {
        Ok(())
    }

    async fn remove(&self, id: MemberId) -> EtcdResult<()> {
        let mut world = self.2.lock().unwrap();
        world.members.retain(|m| m.id != id);
        world.removed.push(id.0);
        Ok(())
    }
}

struct Port(u64, String, Shared);

#[async_trait]
impl Peer for Port {
    fn url(&self) -> &str {
        &self.1
    }

    async fn ask(&self) -> EtcdResult<PeerAnswer> {
        let mut world = self.2.lock().unwrap();
        world.answers(self.0, "peer")?;
        Ok(PeerAnswer { cluster_id: CLUSTER, members: world.members.clone() })
    }
}

/// cp1 without data, beside the two that live on; and its plans.
async fn host(dir: &Path, world: &Shared) -> (Host, Plans) {
    let mut host = Host::new(dir, None);
    host.gate.settings.policy.members = voters("cp1 cp2 cp3");
    host.gate.endpoints =
        (1..=3).map(|id| Arc::new(Client(id, format!("http://cp{id}:2379"), world.clone())) as Endpoint).collect();
    let of = world.clone();
    host.gate.reach.peer = Arc::new(move |at| {
        let id = (1..=3).find(|id| url(&format!("cp{id}")) == at)?;
        Some(Arc::new(Port(id, at.to_owned(), of.clone())) as Arc<dyn Peer>)
    });
    let plans = Plans::new(host.gate.snapshots.records().clone());
    let seed = NodeName::new("cp2").unwrap();
    let plan = Plan {
        cluster_id: CLUSTER,
        seed,
        token: String::new(),
        ..sample_plan(1, PlanCause::Adopted, voters("cp1 cp2 cp3"))
    };
    plans.create(&plan).await.unwrap();
    (host, plans)
}

/// Another host that runs under this one's name came back after the look on which the join was decided, or after the one before the change.
#[tokio::test]
async fn a_member_that_came_back_meanwhile_is_not_removed() {
    for (back_before, removed) in [
        (None, true),
        // The first look, and `still`.
        (Some(("client", 1)), false),
        (Some(("client", 2)), false),
        // Before the change is announced, and after that.
        (Some(("peer", 1)), false),
        (Some(("peer", 2)), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(back_before);
        let (host, plans) = host(dir.path(), &world).await;
        let ended = host.run().await;
        let (was_removed, added) = {
            let world = world.lock().unwrap();
            (world.removed == [1], world.members.iter().any(|m| m.id.0 == 4))
        };
        assert_eq!((was_removed, added), (removed, removed), "{back_before:?}: {ended:?}");
        if removed {
            assert_eq!(ended.unwrap().outcome, Outcome::Start);
            let all = plans.recorded_voters(Generation(1)).await.unwrap();
            assert_eq!(all.iter().map(|(r, _)| r.confirmed).collect::<Vec<_>>(), [false, true]);
        } else {
            let e = ended.unwrap_err();
            assert!(e.to_string().contains("it is not removed"), "{back_before:?}: {e}");
        }
    }
}

/// The cluster is quorate, and from here too few of those that would be left can be seen: one that is cut off now would end it.
#[tokio::test]
async fn an_old_member_is_not_removed_when_too_few_voters_answer() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(None);
    world.lock().unwrap().up = BTreeSet::from([2]);
    let (host, _) = host(dir.path(), &world).await;
    let e = host.run().await.unwrap_err();
    for part in ["would have 1 voters that answer, and needs 2", "it is not removed yet"] {
        assert!(e.to_string().contains(part), "{e}");
    }
    assert!(e.hint_text().is_some_and(|hint| hint.contains("start the other hosts first")), "{e:?}");
    assert_eq!(world.lock().unwrap().removed, Vec::<u64>::new());
}

/// This host was stopped between the record of its change and the change; the others took it for dead and made another one.
#[tokio::test]
async fn a_change_that_others_have_passed_over_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(None);
    let (host, plans) = host(dir.path(), &world).await;
    let records = host.gate.snapshots.records().clone();
    let key = crate::catalog::keys::voters(Generation(1), 1);
    let store = host.store.clone();
    let sealed: Vec<_> = [(2, false), (3, true)]
        .into_iter()
        .map(|(number, confirmed)| {
            let record = VotersRecord {
                number,
                voters: voters("cp9"),
                confirmed,
                cluster_id: None,
                by: NodeName::new("cp3").unwrap(),
                nonce: Nonce([9; 16]),
            };
            let key = crate::catalog::keys::voters(Generation(1), number);
            let bytes = records.seal(crate::core::record::RecordKind::Voters, &key, Generation(1), &record).unwrap();
            (key, bytes)
        })
        .collect();
    // As soon as the own record is written and read back, the others' follow it.
    let mut reads = 0;
    let late = store.clone();
    store.on(move |operation, at| {
        if operation == "get" && at == key && late.body(&key).is_some() {
            reads += 1;
            if reads == 2 {
                for (key, bytes) in &sealed {
                    late.set(key, bytes.clone());
                }
            }
        }
        None
    });
    let ended = host.run().await.unwrap();
    store.heal();
    assert_eq!(ended.outcome, Outcome::Undecided, "{ended:?}");
    assert!(world.lock().unwrap().removed.is_empty(), "the announced change was made all the same");
    assert_eq!(plans.recorded_voters(Generation(1)).await.unwrap().len(), 3);
}

/// Who may not read has not seen that there is no quorum, and must not say so.
#[tokio::test]
async fn a_read_that_is_refused_says_nothing_of_the_quorum() {
    for (kind, refused) in [
        (EtcdErrorKind::Denied, true),
        (EtcdErrorKind::Tls, true),
        (EtcdErrorKind::NoQuorum, false),
        (EtcdErrorKind::Failed, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(None);
        world.lock().unwrap().reads = Some(kind);
        let (host, _) = host(dir.path(), &world).await;
        let report = host.run().await.unwrap();
        assert_eq!((report.outcome, report.verdict.rule), (Outcome::Undecided, Rule::L2), "{kind:?}: {report:?}");
        let live = &report.facts.live;
        assert!(live.clusters.iter().all(|c| !c.quorate && c.cluster_id == CLUSTER), "{live:?}");
        let denied: Vec<_> = live.silent.iter().filter(|s| s.cause.code == CauseCode::Denied).collect();
        let urls: Vec<_> = denied.iter().map(|s| s.url.as_str()).collect();
        let expected: &[&str] = if refused { &["http://cp2:2379", "http://cp3:2379"] } else { &[] };
        assert_eq!(urls, expected, "{kind:?}");
        let because = &report.verdict.because;
        let says =
            if refused { "could not be asked: etcd http://cp2:2379: no reads for you" } else { "have no quorum" };
        assert!(because.contains(says), "{kind:?}: {because}");
        assert_eq!(because.contains("have no quorum"), !refused, "{kind:?}: {because}");
    }
}
