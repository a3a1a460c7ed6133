//! What can be done to a request and to its answer.

use std::time::Duration;

/// How a connection ends where it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// RST.
    Reset,
    /// FIN, as at the end of a good answer.
    Close,
    /// Nothing more comes, and the connection stays.
    Hang,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request is passed on after so long.
    Delay(Duration),
    /// So many bytes a second, both ways.
    Rate(usize),

    // The store never sees the request:
    /// The connection ends before an answer.
    Before(End),
    /// The connection is reset after so many bytes of the request's content.
    ResetRequest(usize),
    /// This status, with S3's document for this code.
    Status(u16, &'static str),
    /// This status, with a page in HTML.
    Page(u16),
    /// Success, with a page in HTML: a portal that wants a login.
    Portal,
    /// This status, to another region (or without saying where to).
    Redirect(u16, Option<&'static str>),

    // The store has carried out the request:
    /// No answer.
    Swallow(End),
    /// This status, with S3's document for this code.
    Late(u16, &'static str),
    /// The answer ends after so many bytes of its head.
    CutHead(usize),
    /// The answer ends after so many bytes of its content.
    CutBody(usize, End),
    /// The answer without this header.
    Strip(&'static str),
    /// The answer with another value of this header, if it has it.
    Alter(&'static str, &'static str),
    /// The answer to the same request before this one.
    Stale,
    /// The answer announces so many bytes more than it has (fewer, when negative).
    Length(i64),
    /// Success, with content that is none.
    Garbage,
    /// Success, with the first half of the content, announced in full.
    Half,
    /// Success, with the first half of the content, announced as the whole.
    HalfAnnounced,
    /// Success, without content.
    Empty,
    /// Success, with a page in HTML, as of a login.
    Html,
    /// Success, with S3's document for this error code.
    ErrorIn200(&'static str),
    /// Success, in chunks whose lengths are none.
    BadChunks,
    /// An answer that is no HTTP.
    NotHttp,
    /// A head that does not end.
    EndlessHead,
}

impl Fault {
    /// Whether the client is left waiting.
    pub fn hangs(&self) -> bool {
        matches!(self, Fault::Before(End::Hang) | Fault::Swallow(End::Hang) | Fault::CutBody(_, End::Hang))
    }

    /// Whether the client gets well-formed content that is not the store's.
    pub fn replaces_content(&self) -> bool {
        matches!(
            self,
            Fault::Garbage
                | Fault::HalfAnnounced
                | Fault::Empty
                | Fault::Html
                | Fault::Portal
                | Fault::ErrorIn200(_)
                | Fault::Length(..=-1)
        )
    }
}
