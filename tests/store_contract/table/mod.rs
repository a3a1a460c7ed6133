//! Every operation meets every fault, through the proxy: each ends in success or in an error that says what to do, and the store holds what was
//! acknowledged, whole, or what was there before.

mod faults;
mod operations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_lifeboat::ports::{ObjectStore, StoreError, StoreErrorKind};
use futures::{StreamExt, stream};

use self::faults::Case;
use self::operations::{Files, NEW, OLD, Operation, PLACES, Seen};
use super::places::{InProcess, S3};
use super::suite::Place;
use super::support::proxy::Fault;
use super::support::{self, FaultProxy, Op};

/// No operation may take longer, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Cells at a time; nearly all of them wait.
const AT_ONCE: usize = 48;

struct Lab {
    proxy: FaultProxy,
    /// Through the proxy, with limits that make waiting short: for a store that hangs for ever.
    quick: Arc<dyn ObjectStore>,
    /// The same with many attempts: for one that hangs once, and is slow because this machine is.
    stubborn: Arc<dyn ObjectStore>,
    /// Through the proxy, for what is answered at once: on a busy machine a short limit would make a clear answer an unclear one.
    patient: Arc<dyn ObjectStore>,
    /// Past it.
    direct: Arc<dyn ObjectStore>,
    files: Files,
}

impl Lab {
    fn new(s3: &S3, part: u64) -> Lab {
        let proxy = FaultProxy::start(&s3.endpoint);
        let mut options = s3.options("f");
        options.limits.part_size = part;
        options.limits.page_size = 2;
        let direct = s3.connect(options.clone());
        options.endpoint = proxy.endpoint();
        options.limits.retry_for = Duration::from_secs(60);
        let within = |time: Duration, attempts: u32| {
            let mut options = options.clone();
            let limits = &mut options.limits;
            (limits.attempts, limits.resumes) = (attempts, attempts);
            for limit in [&mut limits.idle, &mut limits.answer, &mut limits.reply, &mut limits.complete] {
                *limit = time;
            }
            s3.connect(options)
        };
        let short = Duration::from_millis(2500);
        let (quick, stubborn, patient) = (within(short, 3), within(short, 16), within(Duration::from_secs(30), 4));
        Lab { quick, stubborn, patient, direct, proxy, files: Files::new(part) }
    }
}

/// How a cell ended: one of a few words, and what is wrong with it.
struct Ended {
    name: String,
    how: &'static str,
    wrong: Option<String>,
    /// Wrong is only what was answered, not what lies in the store: a busy machine's own delay can be the cause.
    only_said: bool,
}

async fn cell(lab: &Lab, number: usize, place: (Operation, Op), case: &Case, lasting: bool) -> Ended {
    let (operation, hit) = place;
    let folder = format!("c{number:05}/");
    let name = format!("{operation:?} at {hit:?}, {} {}", case.name, if lasting { "always" } else { "once" });
    let ended = |how, wrong| Ended { name: name.clone(), how, wrong, only_said: false };
    if let Err(e) = operation.prepare(&*lab.patient, &folder, &lab.files).await {
        return ended("not prepared", Some(e.to_string()));
    }
    lab.proxy.add(hit, &folder, 0, if lasting { u32::MAX } else { 1 }, case.fault.clone());
    let store = match (case.fault.hangs(), lasting) {
        (false, _) => &lab.patient,
        (true, false) => &lab.stubborn,
        (true, true) => &lab.quick,
    };
    let result = tokio::time::timeout(LIMIT, operation.act(&**store, &folder, &lab.files)).await;
    lab.proxy.clear(&folder);
    let Ok(result) = result else { return ended("hang", Some(format!("not done in {LIMIT:?}"))) };
    let (how, wrong) = judge(lab, operation, case, lasting, &folder, &result);
    match wrong {
        Some(wrong) => Ended { only_said: result.is_err(), ..ended(how, Some(wrong)) },
        None => ended(how, state(lab, operation, case, &folder, result).await.err()),
    }
}

/// What was answered.
fn judge(
    lab: &Lab,
    operation: Operation,
    case: &Case,
    lasting: bool,
    folder: &str,
    result: &Result<Seen, StoreError>,
) -> (&'static str, Option<String>) {
    let e = match result {
        // That the old answer is old cannot be seen.
        Ok(_) if operation == Operation::CreateTaken && case.fault != Fault::Stale => {
            return ("success", Some("it replaced what was there".to_owned()));
        }
        Ok(_) => return ("success", None),
        Err(e) => e,
    };
    let unclear = e.kind == StoreErrorKind::Unclear && operation.writes();
    let taken = e.kind == StoreErrorKind::AlreadyExists && operation == Operation::CreateTaken;
    let key = if operation == Operation::List { folder.to_owned() } else { operation.key(folder) };
    let wrong = if !case.kinds.contains(&e.kind) && !unclear && !taken {
        Some("the kind")
    } else if (case.harmless || case.passes && !lasting) && !taken {
        Some("it should have been ridden out")
    } else if !e.text.contains(&format!("s3://snapshots/f/{key}")) || !e.text.contains(&lab.proxy.endpoint()) {
        Some("the text does not name the object")
    } else {
        None
    };
    ("named error", wrong.map(|why| format!("{why}: {:?} {e} | hint: {:?}", e.kind, e.hint)))
}

/// What is in the store after that.
async fn state(
    lab: &Lab,
    operation: Operation,
    case: &Case,
    folder: &str,
    result: Result<Seen, StoreError>,
) -> Result<(), String> {
    let stale = case.fault == Fault::Stale;
    let lies = case.fault.replaces_content();
    match &result {
        // Content is content: what it should be is known one layer above, by its digest.
        Ok(Seen::Content(_)) if lies => {}
        Ok(Seen::Content(bytes)) if bytes == NEW || stale && bytes == OLD => {}
        Ok(Seen::Content(bytes)) => return Err(format!("{} other bytes were read", bytes.len())),
        Ok(Seen::Keys(keys)) => {
            let all: Vec<String> = ["a", "b", "c", "d"].map(|name| format!("{folder}{name}")).into();
            let before = all.get(..3).unwrap_or_default();
            if *keys != all && !(stale && keys == before) {
                return Err(format!("the listing is {keys:?}"));
            }
        }
        Ok(Seen::Done) | Err(_) => {}
    }
    if operation != Operation::List {
        let (before, after) = operation.contents(&lab.files);
        let found = match lab.direct.get(&operation.key(folder), 64 << 20).await {
            Ok(fetched) => Some(fetched.body),
            Err(e) if e.kind == StoreErrorKind::NotFound => None,
            Err(e) => return Err(format!("the state cannot be read: {e}")),
        };
        let found = found.as_deref();
        let (is_before, is_after) = (found == before, found == after);
        match &result {
            // The store itself has said that there is nothing.
            Ok(_) if operation == Operation::Delete && case.fault == Fault::Status(404, "NoSuchKey") => {}
            Ok(_) if !is_after => return Err("a success, but the store does not hold it".to_owned()),
            Err(e) if !is_before && !is_after => return Err(format!("half an object lies there, after: {e}")),
            // What no answer of the store has told may be there only when that is said.
            Err(e) if is_after && !is_before && !acceptable(operation, e) => {
                return Err(format!("it lies there, and that is not said: {:?} {e}", e.kind));
            }
            _ => {}
        }
    }
    let swept = lab.direct.sweep(folder, Duration::ZERO, &|_| true).await.map_err(|e| e.to_string())?;
    if !swept.failed.is_empty() || swept.kept > 0 {
        return Err(format!("unfinished uploads could not be removed: {swept:?}"));
    }
    Ok(())
}

/// A delete may have happened; and an upload that is not confirmed says just that.
fn acceptable(operation: Operation, e: &StoreError) -> bool {
    e.kind == StoreErrorKind::Unclear
        || operation == Operation::Delete
        || operation.in_parts() && (e.text.contains("look at") || e.text.contains("the store confirmed the upload"))
}

/// Runs the table, prints the counts, and fails with the first cells that are wrong.
async fn run(name: &str, lab: &Lab, cases: &[Case], places: &[(Operation, Op)]) {
    let mut cells = Vec::new();
    for place in places {
        for case in cases {
            for lasting in [false, true] {
                cells.push((cells.len(), *place, case, lasting));
            }
        }
    }
    let total = cells.len();
    let running = stream::iter(cells).map(|(n, place, case, lasting)| async move {
        ((place, case, lasting), cell(lab, n, place, case, lasting).await)
    });
    let first: Vec<_> = running.buffer_unordered(AT_ONCE).collect().await;
    let mut ended = Vec::new();
    let mut again = 0;
    for ((place, case, lasting), e) in first {
        // Alone, and once more only: a defect is wrong again.
        ended.push(match e.wrong.is_some() && e.only_said {
            true => {
                again += 1;
                println!("again, alone: {}: {}", e.name, e.wrong.unwrap_or_default());
                cell(lab, total + again, place, case, lasting).await
            }
            false => e,
        });
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for e in ended {
        *counts.entry(e.how).or_default() += 1;
        wrong.extend(e.wrong.map(|why| format!("{}: {why}", e.name)));
    }
    println!(
        "{name}: {} faults, {total} cells: {} successes, {} named errors, {} hangs, {} wrong",
        cases.len(),
        counts.get("success").unwrap_or(&0),
        counts.get("named error").unwrap_or(&0),
        counts.get("hang").unwrap_or(&0),
        wrong.len()
    );
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {total} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_meets_every_fault() {
    let place = InProcess::start(support::S3Options { min_part_size: 1, ..support::S3Options::default() }).await;
    let lab = Lab::new(&place.s3, 64 << 10);
    let cases = faults::all();
    assert!(cases.len() >= 40);
    run("in-process server", &lab, &cases, &PLACES).await;
    assert_eq!(place.leftovers().await, Vec::<String>::new(), "orphans");
}
