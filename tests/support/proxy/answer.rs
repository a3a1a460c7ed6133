//! Answers that the store never gave.

use super::message::{Answer, Head};

const NO_XML: &str = "\u{1}\u{2}<<<not XML>>>&&&";
const LOGIN: &str = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";

fn made(status: u16, kind: &str, body: &str) -> Answer {
    let headers = vec![
        ("Content-Type".to_owned(), kind.to_owned()),
        ("Content-Length".to_owned(), body.len().to_string()),
        ("Date".to_owned(), jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ];
    Answer { head: Head { first: format!("HTTP/1.1 {status} Made"), headers }, body: body.as_bytes().to_vec() }
}

/// S3's document for an error.
pub(super) fn error(status: u16, code: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>the test wants this</Message><RequestId>0</RequestId></Error>"
    );
    made(status, "application/xml", &text)
}

/// What a balancer says.
pub(super) fn page(status: u16) -> Answer {
    made(status, "text/html", &format!("<html><head><title>{status}</title></head><body>{status}</body></html>"))
}

/// What a network says to whom it does not know.
pub(super) fn portal() -> Answer {
    made(200, "text/html", LOGIN)
}

/// "The bucket is elsewhere."
pub(super) fn redirect(status: u16, region: Option<&str>) -> Answer {
    let code = if status == 301 { "PermanentRedirect" } else { "TemporaryRedirect" };
    let mut answer = error(status, code);
    answer.head.set("Location", "http://127.0.0.1:1/");
    if let Some(region) = region {
        answer.head.set("x-amz-bucket-region", region);
    }
    answer
}

fn with_body(mut answer: Answer, body: &[u8]) -> Answer {
    answer.body = body.to_vec();
    answer.head.set("Content-Length", &body.len().to_string());
    answer
}

pub(super) fn garbage(answer: Answer) -> Answer {
    with_body(answer, NO_XML.as_bytes())
}

pub(super) fn html(answer: Answer) -> Answer {
    let mut answer = with_body(answer, LOGIN.as_bytes());
    answer.head.set("Content-Type", "text/html");
    answer
}

pub(super) fn empty(answer: Answer) -> Answer {
    with_body(answer, b"")
}

pub(super) fn half(answer: Answer) -> Answer {
    let body = answer.body.get(..answer.body.len() / 2).unwrap_or_default().to_vec();
    with_body(answer, &body)
}

pub(super) fn bad_chunks(mut answer: Answer) -> Answer {
    answer.head.remove("content-length");
    answer.head.set("Transfer-Encoding", "chunked");
    answer.body = b"zz\r\nthis is no length\r\n0\r\n\r\n".to_vec();
    answer
}

/// The length that the answer announces, changed by so many bytes.
pub(super) fn length(mut answer: Answer, by: i64) -> Answer {
    let announced = answer.head.content_length().unwrap_or_default() as i64 + by;
    answer.head.set("Content-Length", &announced.max(0).to_string());
    answer
}
