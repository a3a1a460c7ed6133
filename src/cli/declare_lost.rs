//! `lifeboat declare-lost`: a person's word that the newest life of the cluster is gone for good.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::args::DeclareLostArgs;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::{self, AtRecorded};
use crate::catalog::plans::Plans;
use crate::catalog::presence;
use crate::catalog::records::{Created, Records};
use crate::catalog::snapshots::Snapshots;
use crate::core::facts::{Life, PlanFacts};
use crate::core::model::{ClusterId, Generation, SnapshotName};
use crate::core::plan::{PersonsWord, Voter};
use crate::error::{Error, Kind, Result};
use crate::ports::{Etcd, Peer};
use crate::sys::random;

/// A life whose heartbeat is younger is alive.
const HEARTBEAT_TTL_SECONDS: u64 = 90;
/// A member that says nothing within this time does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A life that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct GivenUp {
    generation: Generation,
    /// Who votes in it, as far as that is recorded.
    voters: Vec<Voter>,
    #[serde(skip)]
    cluster_id: ClusterId,
    /// All that were ever recorded as its voters: any of them may still hold its data.
    #[serde(skip)]
    recorded: Vec<Voter>,
}

/// What the word about the newest life gives up: that one first, then those that may live on behind it, newest first.
fn given_up(newest: &PlanFacts, lives: &[Life]) -> Vec<GivenUp> {
    let recorded = newest.voters.iter().flat_map(|r| &r.voters).chain(&newest.plan.voters);
    let first = GivenUp {
        generation: newest.plan.generation,
        voters: newest.voters.last().map_or(&newest.plan.voters, |r| &r.voters).clone(),
        cluster_id: newest.plan.cluster_id,
        recorded: recorded.cloned().collect(),
    };
    let behind = lives.iter().rev().filter(|l| l.generation != newest.plan.generation).filter_map(|l| {
        Some(GivenUp {
            generation: l.generation,
            voters: l.may_live.last()?.voters.clone(),
            cluster_id: l.cluster_id,
            recorded: l.may_live.iter().flat_map(|c| c.voters.clone()).collect(),
        })
    });
    std::iter::once(first).chain(behind).collect()
}

impl GivenUp {
    fn names(&self) -> String {
        self.voters.iter().map(|v| v.name.to_string()).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize)]
struct Report {
    generation: Generation,
    /// Who votes in it, as far as that is recorded.
    voters: Vec<Voter>,
    /// Older lives that may live on behind it, and are given up with it.
    older: Vec<GivenUp>,
    /// What a restore would begin with.
    latest: Option<SnapshotName>,
    /// Whether this call recorded it; otherwise somebody had before.
    recorded: bool,
}

pub(super) async fn run(wire: &Wire, args: &DeclareLostArgs, printer: &Printer) -> Result<ExitCode> {
    if args.reason.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "--reason is empty").hint("say why, for those who read the record later"));
    }
    let records = wire.records()?;
    let location = records.store().location();
    let plans = Plans::new(records.clone());
    let (lives, newest) = plans.history(Generation(0)).await?;
    let Some(newest) = newest else {
        let text = format!("{location} has no plan, so there is no life of the cluster to declare lost");
        return Err(Error::new(Kind::NotFound, text)
            .hint("check bucket and folder with: lifeboat config show; what a boot would do now: lifeboat bootstrap --dry-run"));
    };
    let generation = newest.plan.generation;
    let all = given_up(&newest, &lives);
    let (first, older) = all.split_first().map_or((&[][..], &[][..]), |(f, o)| (std::slice::from_ref(f), o));
    let voters: Vec<Voter> = first.iter().flat_map(|l| l.voters.clone()).collect();
    let listing = Snapshots::new(records.clone()).list().await?;
    let latest = listing.latest().map(|c| &c.manifest);
    let report = |recorded| Report {
        generation,
        voters: voters.clone(),
        older: older.to_vec(),
        latest: latest.map(|m| m.name.clone()),
        recorded,
    };
    if newest.lost {
        printer.report(&report(false), said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let unclear = refuse_the_living(wire, &records, &newest, &all).await?;
    let given_up = match latest {
        Some(m) => format!(
            "What was written after the latest snapshot ({}, revision {}, {} ago) is given up",
            m.name,
            m.revision,
            render::age(m.started, wire.clock.now())
        ),
        None => "There is no snapshot in the store, so ALL of its data is given up".to_owned(),
    };
    for text in &unclear {
        render::warn(text);
    }
    let gone: Vec<String> = all.iter().map(|l| format!("generation {} (voters {})", l.generation, l.names())).collect();
    let behind = match older {
        [] => "",
        _ => " The older ones may live on, since what came after them was forced or taken back.",
    };
    render::ask(
        &format!(
            "Gone for good, in {location}, will be {}, and that cannot be taken back.{behind} {given_up}: if one of these hosts still holds its \
             data, save it first (start etcd there, lifeboat save --name survivor).",
            gone.join(" and ")
        ),
        args.yes,
    )?;
    let word = PersonsWord {
        generation,
        by: wire.settings().node.name.clone(),
        reason: args.reason.clone(),
        at: wire.clock.now(),
        nonce: random::nonce()?,
    };
    let created = plans.declare_lost(&word).await?;
    printer.report(&report(created == Created::Ours), said)?;
    Ok(ExitCode::SUCCESS)
}

fn said(r: &Report) -> String {
    if !r.recorded {
        return format!("generation {} was declared lost before\n", r.generation);
    }
    let next = match &r.latest {
        Some(name) => format!("They restore the best snapshot (now {name})"),
        None => "There is no snapshot to restore, so they ask for a person's word again".to_owned(),
    };
    format!(
        "generation {} is declared lost. Hosts that wait at boot look again within seconds and need no recorded voters of it any more, only a \
         majority of cluster.members. {next}\n",
        r.generation
    )
}

/// What is seen alive is not lost, whatever a person believes.
///
/// The voters of a life that a person wants to give up are often not configured any more: they are asked where the records say that they are. Returns
/// what is there and could not be asked which cluster it is part of.
async fn refuse_the_living(wire: &Wire, records: &Records, newest: &PlanFacts, all: &[GivenUp]) -> Result<Vec<String>> {
    let life = |generation| all.iter().find(|l| l.generation == generation);
    let beat = presence::heartbeat(records).await?;
    if let Some(beat) = beat.filter(|b| life(b.generation).is_some() && b.age_seconds < HEARTBEAT_TTL_SECONDS) {
        let text =
            format!("generation {} wrote its heartbeat {} s ago: it is alive", beat.generation, beat.age_seconds);
        return Err(Error::new(Kind::Refused, text).hint(
            "stop its members for good first, then wait two minutes; to go back to a snapshot instead: lifeboat restore-once NAME",
        ));
    }
    let asked = wire.client_endpoints()?.into_iter().map(|etcd: Arc<dyn Etcd>| async move {
        let status = tokio::time::timeout(ANSWER_LIMIT, etcd.status()).await.ok()?.ok()?;
        Some((etcd.endpoint().to_owned(), status.cluster_id))
    });
    // A survivor without quorum serves no clients, and holds the data all the same.
    let ports = wire.all_peer_ports().into_iter().map(|port: Arc<dyn Peer>| async move {
        let answer = tokio::time::timeout(ANSWER_LIMIT, port.ask()).await.ok()?.ok()?;
        Some((port.url().to_owned(), answer.cluster_id))
    });
    let voters: Vec<Voter> = all.iter().flat_map(|l| l.recorded.clone()).collect();
    let reach = wire.reach_recorded();
    let recorded = bootstrap::who_answers(&reach, &voters, ANSWER_LIMIT);
    let (clients, ports, recorded) = tokio::join!(join_all(asked), join_all(ports), recorded);
    let answers: Vec<(String, ClusterId)> = clients.into_iter().chain(ports).flatten().collect();
    judge(newest, all, answers, recorded)
}

/// What has answered, beside the lives that are to be given up.
fn judge(
    newest: &PlanFacts,
    all: &[GivenUp],
    answers: Vec<(String, ClusterId)>,
    recorded: Vec<AtRecorded>,
) -> Result<Vec<String>> {
    // Until the first host of a reset has recorded it, the id of its cluster is nobody's to know.
    let unlearnt = newest.plan.reset && newest.voters.is_empty();
    let mut living: Vec<(Generation, Vec<String>)> = Vec::new();
    let mut unclear = Vec::new();
    let mut lives = |at: String, id: ClusterId, is_recorded: bool| match all.iter().find(|l| l.cluster_id == id) {
        Some(life) => match living.iter_mut().find(|(g, _)| *g == life.generation) {
            Some((_, there)) if there.contains(&at) => {}
            Some((_, there)) => there.push(at),
            None => living.push((life.generation, vec![at])),
        },
        None if is_recorded && unlearnt => living.push((newest.plan.generation, vec![at])),
        None => {}
    };
    for (at, id) in answers {
        lives(at, id, false);
    }
    for found in recorded {
        match found.cluster {
            Ok(id) => lives(found.url, id, true),
            Err(why) => unclear.push(format!(
                "something answers at {}, where a voter is recorded, and does not tell which cluster it is part of: {why}",
                found.url
            )),
        }
    }
    if living.is_empty() {
        return Ok(unclear);
    }
    let those: Vec<String> =
        living.iter().map(|(g, there)| format!("members of generation {g} answer ({})", there.join(", "))).collect();
    Err(Error::new(Kind::Refused, format!("{}: their data is newer than any snapshot", those.join("; ")))
    .hint("bring the others back; if they are lost, save there ('lifeboat save --name survivor') then 'lifeboat restore-once survivor', and restart etcd there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::facts::Configuration;
    use crate::core::plan::tests::{sample_plan, voters, voters_records};
    use crate::core::plan::{Plan, PlanCause};

    fn newest(reset: bool, records: &[&str]) -> PlanFacts {
        let plan = Plan { cluster_id: ClusterId(0x30), reset, ..sample_plan(3, PlanCause::Forced, voters("a b c")) };
        let confirmed: Vec<_> = records.iter().map(|names| (*names, true)).collect();
        let voters = voters_records(&confirmed);
        PlanFacts { plan, cancelled: false, lost: false, marks: vec![], voters, age_seconds: None }
    }

    fn life(generation: u64, may_live: &[&str]) -> Life {
        let configuration = |names: &&str| Configuration { recorded_in: String::new(), voters: voters(names) };
        Life {
            generation: Generation(generation),
            cluster_id: ClusterId(generation * 0x10),
            cause: PlanCause::Init,
            cancelled: false,
            request: None,
            may_live: may_live.iter().map(configuration).collect(),
        }
    }

    /// The word about the newest life gives up those behind it, too; whoever was recorded in any of them is asked.
    #[test]
    fn lives_behind_a_forced_plan_are_given_up_with_it() {
        let all =
            given_up(&newest(false, &["a b", "a b d"]), &[life(1, &[]), life(2, &["x y", "x y z"]), life(3, &[])]);
        let names: Vec<(u64, String)> = all.iter().map(|l| (l.generation.0, l.names())).collect();
        assert_eq!(names, [(3, "a, b, d".to_owned()), (2, "x, y, z".to_owned())]);
        let asked = |name: &str| all.iter().any(|l| l.recorded.iter().any(|v| v.name.as_str() == name));
        assert!(["a", "b", "c", "d", "x", "y", "z"].into_iter().all(asked), "{all:?}");
    }

    #[test]
    fn who_answers_for_a_life_that_is_given_up_is_named() {
        let at = |n: &str, cluster: Result<u64, &str>| AtRecorded {
            url: format!("http://{n}:2380"),
            cluster: cluster.map(ClusterId).map_err(str::to_owned),
        };
        type Case<'a> = (&'a str, bool, Vec<(String, ClusterId)>, Vec<AtRecorded>, Result<usize, &'a str>);
        let tls = || Err("certificate");
        let cases: Vec<Case<'_>> = vec![
            ("nobody", false, vec![], vec![], Ok(0)),
            (
                "a configured member",
                false,
                vec![("http://a:2379".into(), ClusterId(0x30))],
                vec![],
                Err("3 answer (http://a:2379)"),
            ),
            ("a voter that is not configured", false, vec![], vec![at("c", Ok(0x30))], Err("3 answer (http://c:2380)")),
            ("a voter of the life behind", false, vec![], vec![at("x", Ok(0x20))], Err("2 answer (http://x:2380)")),
            ("of a life that is over", false, vec![], vec![at("a", Ok(0x10))], Ok(0)),
            ("a stranger", false, vec![], vec![at("a", Ok(0x99))], Ok(0)),
            (
                "a reset whose id is not known yet",
                true,
                vec![],
                vec![at("a", Ok(0x99))],
                Err("3 answer (http://a:2380)"),
            ),
            ("it cannot be asked", false, vec![], vec![at("a", tls())], Ok(1)),
            ("and another one answers", false, vec![], vec![at("a", tls()), at("b", Ok(0x30))], Err("http://b:2380")),
        ];
        for (story, reset, answers, recorded, expected) in cases {
            let newest = newest(reset, &[]);
            let all = given_up(&newest, &[life(1, &[]), life(2, &["x y z"]), life(3, &[])]);
            let got = judge(&newest, &all, answers, recorded);
            match (got, expected) {
                (Ok(unclear), Ok(n)) => assert_eq!(unclear.len(), n, "{story}: {unclear:?}"),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{story}: {e}"),
                (got, expected) => panic!("{story}: {got:?} instead of {expected:?}"),
            }
        }
    }
}
