//! The few XML documents of S3 that we read.
//!
//! It exists because rust-s3's own types want elements that many servers leave out, and because the root element must be
//! looked at: a proxy's HTML page is not an answer of a store. Formats: Amazon S3 API Reference, 2006-03-01.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;

use crate::core::model::Timestamp;

/// The name of the root element, without its namespace prefix.
pub(super) fn root(body: &[u8]) -> Option<String> {
    let mut reader = Reader::from_reader(body);
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(e) | Event::Empty(e)) => {
                return String::from_utf8(e.local_name().as_ref().to_vec()).ok();
            }
            Ok(Event::Eof) | Err(_) => return None,
            Ok(_) => buffer.clear(),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], wanted: &str) -> Option<T> {
    if root(body)? != wanted {
        return None;
    }
    quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// The same, with what is wrong.
fn document<'a, T: Deserialize<'a>>(body: &'a [u8], wanted: &str) -> Result<T, String> {
    match root(body) {
        Some(name) if name == wanted => {}
        Some(name) => return Err(format!("the answer is a <{name}> document")),
        None => return Err("the answer is no XML document".to_owned()),
    }
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
    quick_xml::de::from_str(text).map_err(|e| format!("the answer cannot be parsed: {e}"))
}

/// `<Error>`, as far as it is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorDocument {
    #[serde(rename = "Code", default)]
    pub(super) code: String,
    #[serde(rename = "Message", default)]
    pub(super) message: String,
    #[serde(rename = "Region", default)]
    pub(super) region: Option<String>,
    #[serde(rename = "Endpoint", default)]
    pub(super) endpoint: Option<String>,
    #[serde(rename = "ServerTime", default)]
    pub(super) server_time: Option<String>,
}

pub(super) fn error(body: &[u8]) -> Option<ErrorDocument> {
    parse::<ErrorDocument>(body, "Error").filter(|e| !e.code.is_empty())
}

/// The id in `<InitiateMultipartUploadResult>`.
pub(super) fn upload_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Result {
        #[serde(rename = "UploadId")]
        upload_id: String,
    }
    // rclone leaves out the end of the name.
    let answer = ["InitiateMultipartUploadResult", "InitiateMultipartUpload"]
        .iter()
        .find_map(|root| parse::<Result>(body, root));
    answer.map(|r| r.upload_id).filter(|id| !id.is_empty())
}

/// `<ListBucketResult>` of ListObjectsV2.
pub(super) struct Listing {
    pub(super) contents: Vec<Listed>,
    /// There is more, from this token on.
    pub(super) next: Option<String>,
}

pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
    pub(super) modified: Option<String>,
}

/// # Errors
/// What is wrong with the document. A listing that may be cut short must never look complete.
pub(super) fn listing(body: &[u8]) -> Result<Listing, String> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "IsTruncated")]
        truncated: String,
        #[serde(rename = "NextContinuationToken", default)]
        next: Option<String>,
        #[serde(rename = "EncodingType", default)]
        encoding: Option<String>,
        #[serde(rename = "Contents", default)]
        contents: Vec<Contents>,
    }
    #[derive(Deserialize)]
    struct Contents {
        #[serde(rename = "Key")]
        key: String,
        #[serde(rename = "Size")]
        size: u64,
        #[serde(rename = "ETag", default)]
        etag: Option<String>,
        #[serde(rename = "LastModified", default)]
        modified: Option<String>,
    }
    let document: Document = document(body, "ListBucketResult")?;
    let next = match (document.truncated.as_str(), document.next) {
        ("false", _) => None,
        ("true", Some(token)) if !token.is_empty() => Some(token),
        ("true", _) => return Err("it says that there is more, but not from where on".to_owned()),
        (other, _) => return Err(format!("IsTruncated is {:?}", other.chars().take(20).collect::<String>())),
    };
    let encoded = document.encoding.as_deref() == Some("url");
    let contents = document
        .contents
        .into_iter()
        .map(|c| {
            let key = if encoded { url_decode(&c.key).ok_or("a key cannot be decoded")? } else { c.key };
            Ok(Listed { key, size: c.size, etag: c.etag, modified: c.modified })
        })
        .collect::<Result<Vec<_>, &str>>()?;
    Ok(Listing { contents, next })
}

/// `<ListMultipartUploadsResult>`.
pub(super) struct Uploads {
    pub(super) uploads: Vec<Begun>,
    /// There is more behind this.
    pub(super) next: Option<Marker>,
}

/// An upload that was begun.
pub(super) struct Begun {
    pub(super) key: String,
    pub(super) id: String,
    /// Absent where the store does not tell.
    pub(super) initiated: Option<Timestamp>,
}

/// As the store gave it: SeaweedFS names the id alone, and takes no other.
#[derive(PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) key: Option<String>,
    pub(super) id: Option<String>,
}

/// # Errors
/// What is wrong with the document.
pub(super) fn uploads(body: &[u8]) -> Result<Uploads, String> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "IsTruncated", default)]
        truncated: String,
        #[serde(rename = "NextKeyMarker", default)]
        next_key: Option<String>,
        #[serde(rename = "NextUploadIdMarker", default)]
        next_id: Option<String>,
        #[serde(rename = "EncodingType", default)]
        encoding: Option<String>,
        #[serde(rename = "Upload", default)]
        uploads: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "Key")]
        key: String,
        #[serde(rename = "UploadId")]
        id: String,
        #[serde(rename = "Initiated", default)]
        initiated: Option<String>,
    }
    let document: Document = document(body, "ListMultipartUploadsResult")?;
    let encoded = document.encoding.as_deref() == Some("url");
    let plain = |key: String| if encoded { url_decode(&key).ok_or("a key cannot be decoded") } else { Ok(key) };
    let marker = Marker {
        key: document.next_key.filter(|key| !key.is_empty()).map(plain).transpose()?,
        id: document.next_id.filter(|id| !id.is_empty()),
    };
    let next = match (document.truncated == "true", marker) {
        (true, Marker { key: None, id: None }) => {
            return Err("it says that there is more, but not from where on".to_owned());
        }
        (true, marker) => Some(marker),
        (false, _) => None,
    };
    let uploads = document
        .uploads
        .into_iter()
        .map(|e| Ok(Begun { key: plain(e.key)?, id: e.id, initiated: e.initiated.and_then(|t| t.parse().ok()) }))
        .collect::<Result<Vec<_>, &str>>()?;
    Ok(Uploads { uploads, next })
}

/// `<ListPartsResult>`, as far as it is used.
pub(super) struct Parts {
    pub(super) none: bool,
    pub(super) newest: Option<Timestamp>,
    /// There is more behind this number.
    pub(super) next: Option<String>,
}

pub(super) fn parts(body: &[u8]) -> Option<Parts> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "IsTruncated", default)]
        truncated: String,
        #[serde(rename = "NextPartNumberMarker", default)]
        next: Option<String>,
        #[serde(rename = "Part", default)]
        parts: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "LastModified", default)]
        modified: Option<String>,
    }
    let document: Document = document(body, "ListPartsResult").ok()?;
    Some(Parts {
        none: document.parts.is_empty(),
        newest: document.parts.iter().filter_map(|p| p.modified.as_deref()?.parse().ok()).max(),
        next: document.next.filter(|_| document.truncated == "true"),
    })
}

/// S3's `encoding-type=url`: percent-encoding with `+` for a blank.
fn url_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.extend(hex::decode(digits).ok()?);
            }
            b => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_may_be_cut_short_is_refused() {
        let good = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
            <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
            <Contents><Key>a+b%2Bc%C3%A9</Key><Size>3</Size><ETag>&quot;e&quot;</ETag><LastModified>2024-01-01T00:00:00Z</LastModified></Contents>\
            <Contents><Key>b</Key><Size>0</Size></Contents></ListBucketResult>";
        let listing_ = listing(good.as_bytes()).expect("listing");
        assert_eq!(listing_.next.as_deref(), Some("t"));
        let keys: Vec<_> = listing_.contents.iter().map(|c| c.key.as_str()).collect();
        assert_eq!(keys, ["a b+cé", "b"]);
        assert_eq!(listing_.contents.first().and_then(|c| c.etag.as_deref()), Some("\"e\""));
        let bad = [
            String::new(),
            "<html><body>login</body></html>".to_owned(),
            "<Error><Code>InternalError</Code></Error>".to_owned(),
            good.replace("<NextContinuationToken>t</NextContinuationToken>", ""),
            good.replace("<IsTruncated>true</IsTruncated>", ""),
            good.replace(">true<", ">maybe<"),
            good.replace("<Size>0</Size>", "<Size>-1</Size>"),
            good.replace("%2B", "%2G"),
            good.split_at(good.len() - 30).0.to_owned(),
        ];
        for body in bad {
            assert!(listing(body.as_bytes()).is_err(), "accepted: {body}");
        }
    }

    #[test]
    fn errors_are_told_from_other_pages() {
        let e = error(b"<Error><Code>NoSuchKey</Code><Message>gone &amp; lost</Message><Key>x</Key></Error>")
            .expect("error");
        assert_eq!((e.code.as_str(), e.message.as_str()), ("NoSuchKey", "gone & lost"));
        for other in [&b""[..], b"404", b"<html><Code>NoSuchKey</Code></html>", b"<Error></Error>", b"\xff<Error>"] {
            assert!(error(other).is_none(), "{other:?}");
        }
        assert_eq!(
            upload_id(b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
                .as_deref(),
            Some("u")
        );
    }
}
