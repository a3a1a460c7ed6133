//! One connection: requests are read, passed on, and answered as the rules say.

#![allow(clippy::print_stderr, reason = "what is wrong with the surroundings is told")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer;
use super::fault::{End, Fault};
use super::message::{Answer, Head};
use super::{Site, lock};

/// What was sent should reach the client before the end does.
const SETTLE: Duration = Duration::from_millis(30);

pub(super) async fn connection(site: Arc<Site>, mut client: TcpStream) {
    let _ = client.set_nodelay(true);
    while let Some(request) = Head::read(&mut client).await {
        let (op, key) = request.asks();
        let fault = site.judge(op, &key);
        if let Err(end) = exchange(&site, &mut client, &request, fault).await {
            return finish(client, end).await;
        }
    }
}

async fn finish(mut client: TcpStream, end: End) {
    match end {
        End::Close => {
            let _ = client.shutdown().await;
            // Closing with unread bytes would be a reset.
            let mut rest = [0; 4096];
            let drained = async { while client.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
            let _ = tokio::time::timeout(Duration::from_secs(5), drained).await;
        }
        End::Hang => {
            // Until the client gives up.
            let mut rest = [0; 4096];
            while client.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        }
        End::Reset => {
            tokio::time::sleep(SETTLE).await;
            let _ = setsockopt(&client.as_fd(), sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
        }
    }
}

/// One request and its answer. `Err`: how the connection ends.
async fn exchange(site: &Site, client: &mut TcpStream, request: &Head, fault: Option<Fault>) -> Result<(), End> {
    let rate = match &fault {
        Some(Fault::Rate(rate)) => Some(*rate),
        _ => None,
    };
    let length = request.content_length().unwrap_or_default();
    match &fault {
        Some(Fault::Before(end)) => return Err(*end),
        Some(Fault::ResetRequest(n)) => {
            read_content(client, length.min(*n), None).await?;
            return Err(End::Reset);
        }
        _ => {}
    }
    let content = read_content(client, length, rate).await?;
    match &fault {
        Some(Fault::Status(status, code)) => return send(client, request, answer::error(*status, code), None).await,
        Some(Fault::Page(status)) => return send(client, request, answer::page(*status), None).await,
        Some(Fault::Portal) => return send(client, request, answer::portal(), None).await,
        Some(Fault::Redirect(status, region)) => {
            return send(client, request, answer::redirect(*status, *region), None).await;
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let truth = pass_on(site, request, &content).await?;
    let name = request.first.clone();
    let before = lock(&site.answers).insert(name, truth.clone());
    let altered = match fault {
        Some(Fault::Swallow(end)) => return Err(end),
        Some(Fault::Late(status, code)) => answer::error(status, code),
        Some(Fault::CutHead(n)) => {
            let head = truth.head.bytes();
            let _ = client.write_all(head.get(..n).unwrap_or(&head)).await;
            return Err(End::Reset);
        }
        Some(Fault::CutBody(n, end)) => {
            let _ = client.write_all(&truth.head.bytes()).await;
            let _ = client.write_all(truth.body.get(..n).unwrap_or(&truth.body)).await;
            return Err(end);
        }
        Some(Fault::NotHttp) => {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
            return Err(End::Close);
        }
        Some(Fault::EndlessHead) => {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while client.write_all(b"X-More: and more and more and more and more and more\r\n").await.is_ok() {}
            return Err(End::Close);
        }
        Some(Fault::Strip(name)) => {
            let mut altered = truth;
            altered.head.remove(name);
            if name.eq_ignore_ascii_case("content-length") {
                // Its end is then the end of the connection.
                send(client, request, altered, rate).await?;
                return Err(End::Close);
            }
            altered
        }
        Some(Fault::Alter(name, value)) => {
            let mut altered = truth;
            if altered.head.get(name).is_some() {
                altered.head.set(name, value);
            }
            altered
        }
        Some(Fault::Length(by)) => {
            send(client, request, answer::length(truth, by), rate).await?;
            return Err(End::Close);
        }
        Some(Fault::Half) => {
            let (announced, half) = (truth.head.content_length().unwrap_or_default(), answer::half(truth));
            let missing = announced.saturating_sub(half.body.len()) as i64;
            send(client, request, answer::length(half, missing), rate).await?;
            return Err(End::Close);
        }
        Some(Fault::Stale) => before.unwrap_or(truth),
        Some(Fault::Garbage) => answer::garbage(truth),
        Some(Fault::HalfAnnounced) => answer::half(truth),
        Some(Fault::Empty) => answer::empty(truth),
        Some(Fault::Html) => answer::html(truth),
        Some(Fault::ErrorIn200(code)) => answer::error(200, code),
        Some(Fault::BadChunks) => answer::bad_chunks(truth),
        _ => truth,
    };
    send(client, request, altered, rate).await
}

async fn read_content(client: &mut TcpStream, length: usize, rate: Option<usize>) -> Result<Vec<u8>, End> {
    let mut content = vec![0; length];
    for piece in content.chunks_mut(step(rate)) {
        if client.read_exact(piece).await.is_err() {
            return Err(End::Close);
        }
        pace(rate).await;
    }
    Ok(content)
}

/// Bytes at once: twenty times a second.
fn step(rate: Option<usize>) -> usize {
    rate.map_or(1 << 20, |rate| (rate / 20).max(1))
}

async fn pace(rate: Option<usize>) {
    if rate.is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// To the store and back. It goes on when the client has gone, as it would without us.
async fn pass_on(site: &Site, request: &Head, content: &[u8]) -> Result<Answer, End> {
    let (mut head, content, upstream) = (request.clone(), content.to_vec(), site.upstream);
    let work = tokio::spawn(async move {
        let mut stream = TcpStream::connect(upstream).await.ok()?;
        let to_head = head.method() == "HEAD";
        head.set("Connection", "close");
        stream.write_all(&head.bytes()).await.ok()?;
        stream.write_all(&content).await.ok()?;
        Answer::read(&mut stream, to_head).await
    });
    let answer = work.await.ok().flatten();
    if answer.is_none() {
        eprintln!("the server behind the proxy did not answer to {}", request.first);
    }
    answer.ok_or(End::Close)
}

async fn send(client: &mut TcpStream, request: &Head, answer: Answer, rate: Option<usize>) -> Result<(), End> {
    let gone = |_| End::Close;
    client.write_all(&answer.head.bytes()).await.map_err(gone)?;
    if request.method() != "HEAD" {
        for piece in answer.body.chunks(step(rate)) {
            client.write_all(piece).await.map_err(gone)?;
            pace(rate).await;
        }
    }
    Ok(())
}
