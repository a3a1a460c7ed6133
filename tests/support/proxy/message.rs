//! Requests and answers as they are on the wire: a head, and content whose length the head tells.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::s3::Op;

/// Longer heads are none.
const HEAD: usize = 64 << 10;

/// The head of a message: first line and headers, in order.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) first: String,
    pub(super) headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Head {
    /// Reads up to the empty line; `None` when the peer is gone.
    pub(super) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Option<Head> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(from.read_u8().await.ok()?);
            if bytes.len() > HEAD {
                return None;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = text.lines();
        let first = lines.next()?.to_owned();
        let headers =
            lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
        Some(Head { first, headers })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn content_length(&self) -> Option<usize> {
        self.get("content-length")?.parse().ok()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        format!("{}\r\n{headers}\r\n", self.first).into_bytes()
    }

    /// Method of a request.
    pub(super) fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// What a request asks for, and its key (the prefix for a listing).
    pub(super) fn asks(&self) -> (Op, String) {
        let target = self.first.split(' ').nth(1).unwrap_or_default();
        let url = url::Url::parse(&format!("http://h{target}")).expect("the target of a request");
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let value = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let path = percent_decoded(url.path().trim_start_matches('/'));
        let (_, key) = path.split_once('/').unwrap_or((&path, ""));
        let (uploads, in_upload) = (value("uploads").is_some(), value("uploadId").is_some());
        if key.is_empty() {
            let prefix = value("prefix").unwrap_or_default();
            return match self.method() {
                "GET" if uploads => (Op::ListUploads, prefix),
                "GET" if value("list-type").is_some() => (Op::List, prefix),
                _ => (Op::Other, prefix),
            };
        }
        let op = match self.method() {
            "PUT" if in_upload => Op::UploadPart,
            "PUT" => Op::Put,
            "GET" if in_upload => Op::Other,
            "GET" => Op::Get,
            "HEAD" => Op::Head,
            "DELETE" if in_upload => Op::AbortUpload,
            "DELETE" => Op::Delete,
            "POST" if uploads => Op::CreateUpload,
            "POST" if in_upload => Op::CompleteUpload,
            _ => Op::Other,
        };
        (op, key.to_owned())
    }
}

fn percent_decoded(text: &str) -> String {
    let escaped = text.replace('+', "%2B").replace('&', "%26");
    url::form_urlencoded::parse(format!("k={escaped}").as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}

impl Answer {
    /// Reads an answer to its end: the server was asked to close behind it.
    pub(super) async fn read<R: AsyncRead + Unpin>(from: &mut R, to_head: bool) -> Option<Answer> {
        let mut head = Head::read(from).await?;
        let mut body = Vec::new();
        if !to_head {
            from.read_to_end(&mut body).await.ok()?;
            if head.get("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
                body = unchunked(&body)?;
                head.remove("transfer-encoding");
            }
            head.set("Content-Length", &body.len().to_string());
        }
        head.remove("connection");
        Some(Answer { head, body })
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let (line, behind) = rest.split_at_checked(end)?;
        let size = std::str::from_utf8(line).ok()?.split(';').next()?.trim().to_owned();
        let size = usize::from_str_radix(&size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let behind = behind.get(2..)?;
        body.extend_from_slice(behind.get(..size)?);
        rest = behind.get(size + 2..)?;
    }
}
