//! A steady, open-loop load: a write starts when its time has come, whether or not those before it are done, and its
//! time counts from when it should have started. A stalled etcd is not flattered.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::{Failure, connect};

/// Writes that may wait at the same time.
const MOST_WAITING: usize = 4096;

/// Prints one line of JSON: the number of writes, of failures, and milliseconds.
pub(crate) async fn run(endpoint: &str, seconds: &str, rate: &str, stop: &str) -> Result<(), Failure> {
    let (seconds, rate) = (seconds.parse::<u64>()?, rate.parse::<u32>()?);
    let client = connect(endpoint).await?;
    // The connection is made before the clock runs.
    client.kv_client().put("bench/load", "begin", None).await?;
    let (took, mut times) = mpsc::channel(MOST_WAITING);
    let begun = Instant::now();
    let every = Duration::from_secs(1) / rate;
    let starter = tokio::spawn({
        let stop = stop.to_owned();
        async move {
            for n in 0..seconds.saturating_mul(u64::from(rate)) {
                let due = begun + every * u32::try_from(n).unwrap_or(u32::MAX);
                sleep_until(due).await;
                if n % 20 == 0 && Path::new(&stop).exists() {
                    break;
                }
                let (mut kv, took) = (client.kv_client(), took.clone());
                tokio::spawn(async move {
                    let written = kv.put(format!("bench/load/{}", n % 1000), vec![b'x'; 256], None).await;
                    let _ = took.send((written.is_ok(), due.elapsed())).await;
                });
            }
        }
    });
    let (mut all, mut failed) = (Vec::new(), 0u64);
    while let Some((written, time)) = times.recv().await {
        all.push(time);
        failed += u64::from(!written);
    }
    starter.await?;
    all.sort();
    let at = |share: f64| {
        let index = (all.len() as f64 * share).ceil() as usize;
        all.get(index.saturating_sub(1)).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
    };
    println!(
        r#"{{"writes": {}, "failed": {failed}, "p50": {:.2}, "p99": {:.2}, "max": {:.2}}}"#,
        all.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
