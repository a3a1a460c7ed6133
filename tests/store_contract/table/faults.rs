//! The faults of the table, and what each may end in.

use std::time::Duration;

use etcd_lifeboat::ports::StoreErrorKind as Kind;

use super::super::support::proxy::{End, Fault};

/// What a fault can lead to besides success.
pub struct Case {
    pub name: String,
    pub fault: Fault,
    /// Kinds of the error, besides `Unclear` for a write that may have happened.
    pub kinds: Vec<Kind>,
    /// One occurrence is ridden out by sending again.
    pub passes: bool,
    /// Nothing that can be told from a good answer: it may last, and the operation succeeds.
    pub harmless: bool,
}

fn case(fault: Fault, kinds: &[Kind], passes: bool) -> Case {
    Case { name: format!("{fault:?}"), fault, kinds: kinds.to_vec(), passes, harmless: false }
}

fn harmless(fault: Fault) -> Case {
    Case { harmless: true, ..case(fault, &[], true) }
}

/// All of them.
pub fn all() -> Vec<Case> {
    use Kind::{AlreadyExists, Corrupt, Denied, NoSuchBucket, NotFound, Rejected, Unavailable, Unreachable};
    let mut cases = vec![
        harmless(Fault::Delay(Duration::from_millis(200))),
        harmless(Fault::Rate(1 << 20)),
        harmless(Fault::Strip("Date")),
        harmless(Fault::Strip("Last-Modified")),
    ];
    for end in [End::Reset, End::Close, End::Hang] {
        cases.push(case(Fault::Before(end), &[Unreachable], true));
        cases.push(case(Fault::Swallow(end), &[Unreachable], true));
        cases.push(case(Fault::CutBody(0, end), &[Unreachable, Corrupt], true));
        cases.push(case(Fault::CutBody(40, end), &[Unreachable, Corrupt], true));
    }
    for n in [0, 7] {
        cases.push(case(Fault::ResetRequest(n), &[Unreachable], true));
    }
    for n in [0, 5, 30] {
        cases.push(case(Fault::CutHead(n), &[Unreachable], true));
    }
    for (status, code, kind, passes) in [
        (400, "InvalidRequest", Rejected, false),
        (400, "RequestTimeout", Unavailable, true),
        (400, "ExpiredToken", Denied, true),
        (401, "Unauthorized", Denied, false),
        (403, "RequestTimeTooSkewed", Rejected, true),
        (403, "ExpiredToken", Denied, true),
        (403, "SignatureDoesNotMatch", Denied, false),
        (403, "InvalidAccessKeyId", Denied, false),
        (403, "AccessDenied", Denied, false),
        (404, "NoSuchKey", NotFound, false),
        (404, "NoSuchBucket", NoSuchBucket, false),
        (404, "NoSuchUpload", Unavailable, false),
        (405, "MethodNotAllowed", Rejected, false),
        (408, "RequestTimeout", Unavailable, true),
        (409, "OperationAborted", Unavailable, true),
        (409, "ConditionalRequestConflict", Unavailable, true),
        (411, "MissingContentLength", Rejected, false),
        (412, "PreconditionFailed", AlreadyExists, false),
        (416, "InvalidRange", Rejected, false),
        (429, "TooManyRequests", Unavailable, true),
        (500, "InternalError", Unavailable, true),
        (501, "NotImplemented", Rejected, false),
        (503, "SlowDown", Unavailable, true),
        (507, "InsufficientStorage", Unavailable, true),
    ] {
        cases.push(case(Fault::Status(status, code), &[kind], passes));
    }
    for (status, kind, passes) in [
        (403, Denied, false),
        (404, Unavailable, false),
        (502, Unavailable, true),
        (503, Unavailable, true),
        (504, Unavailable, true),
    ] {
        cases.push(case(Fault::Page(status), &[kind], passes));
    }
    cases.push(case(Fault::Portal, &[Unavailable, Corrupt, NotFound], false));
    for (status, region) in [(301, Some("eu-west-2")), (307, Some("eu-west-2")), (301, None), (307, None)] {
        cases.push(case(Fault::Redirect(status, region), &[Rejected], false));
    }
    for (status, code) in
        [(408, "RequestTimeout"), (500, "InternalError"), (503, "ServiceUnavailable"), (504, "GatewayTimeout")]
    {
        cases.push(case(Fault::Late(status, code), &[Unavailable], true));
    }
    for name in ["ETag", "Content-Length", "Content-Range", "Content-Type"] {
        cases.push(case(Fault::Strip(name), &[Unavailable, Unreachable, Corrupt], false));
    }
    for (name, value) in [
        ("ETag", "\"00000000000000000000000000000000\""),
        ("Last-Modified", "yesterday"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        cases.push(case(Fault::Alter(name, value), &[Rejected, Unavailable, Corrupt], false));
    }
    // Parts of another upload, content that was replaced.
    cases.push(case(Fault::Stale, &[Unavailable, Corrupt], false));
    for by in [7, -3] {
        cases.push(case(Fault::Length(by), &[Unreachable, Corrupt, Unavailable], false));
    }
    for fault in [Fault::Half, Fault::BadChunks, Fault::NotHttp, Fault::EndlessHead] {
        cases.push(case(fault, &[Unreachable, Corrupt, Unavailable], false));
    }
    for fault in [Fault::Garbage, Fault::HalfAnnounced, Fault::Empty, Fault::Html, Fault::ErrorIn200("InternalError")] {
        cases.push(case(fault, &[Unavailable, Corrupt, Unreachable], false));
    }
    cases.push(case(Fault::ErrorIn200("SlowDown"), &[Unavailable, Corrupt], false));
    cases
}
