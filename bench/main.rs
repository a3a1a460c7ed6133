//! What `make bench` needs beside the commands that it compares: a db of Kubernetes-like objects, and a steady load.
//!
//! `lifeboat-bench fill ENDPOINT MIB` fills an etcd; `lifeboat-bench load ENDPOINT SECONDS RATE FILE` writes at a fixed rate until
//! its time is over or FILE appears, and prints how long the writes took. It is no part of the packages.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its figures go to bench.sh, what it is at goes to the person"
)]

mod load;
mod objects;

use std::process::ExitCode;

use etcd_client::{Client, ConnectOptions, Txn, TxnOp};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Puts in a transaction; etcd takes 128.
const BATCH: u64 = 64;
/// Transactions at the same time.
const LANES: u64 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["fill", endpoint, mib] => fill(endpoint, mib).await,
        ["load", endpoint, seconds, rate, stop] => load::run(endpoint, seconds, rate, stop).await,
        _ => Err("lifeboat-bench fill ENDPOINT MIB | load ENDPOINT SECONDS RATE FILE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lifeboat-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn connect(endpoint: &str) -> Result<Client, Failure> {
    let options = ConnectOptions::new().with_timeout(std::time::Duration::from_secs(30));
    Ok(Client::connect([endpoint], Some(options)).await?)
}

/// Writes objects until the db is `mib` large; every eighth is written a second time, every sixteenth deleted.
async fn fill(endpoint: &str, mib: &str) -> Result<(), Failure> {
    let goal = mib.parse::<i64>()? << 20;
    let client = connect(endpoint).await?;
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let client = client.clone();
        lanes.spawn(async move {
            let (mut kv, mut maintenance) = (client.kv_client(), client.maintenance_client());
            let mut number = lane * BATCH;
            loop {
                if (number / BATCH / LANES).is_multiple_of(16) && maintenance.status().await?.db_size() >= goal {
                    return Ok::<u64, Failure>(number);
                }
                let mut operations = Vec::new();
                for n in number..number + BATCH {
                    let object = objects::object(n);
                    operations.push(TxnOp::put(object.key, object.value, None));
                }
                kv.txn(Txn::new().and_then(operations)).await?;
                for n in (number..number + BATCH).step_by(8) {
                    let object = objects::object(n);
                    kv.put(object.key.clone(), object.value, None).await?;
                    if n % 16 == 0 {
                        kv.delete(object.key, None).await?;
                    }
                }
                number += BATCH * LANES;
            }
        });
    }
    let mut most = 0;
    while let Some(lane) = lanes.join_next().await {
        most = most.max(lane??);
    }
    let size = client.maintenance_client().status().await?.db_size();
    eprintln!("lifeboat-bench: about {most} objects, {} MiB", size >> 20);
    Ok(())
}
