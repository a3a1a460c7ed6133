//! Answers of an S3 server: a listing that was understood says the same when it is written down again; nothing else is taken for one.

use std::fmt::Write;

use etcd_lifeboat::store::s3::documents::{error, listing, upload_id};

pub fn run(data: &[u8]) -> bool {
    let refused = error(data);
    if let Some((code, _)) = &refused {
        assert!(!code.is_empty() && listing(data).is_err() && upload_id(data).is_none(), "one document, two meanings");
    }
    let upload = upload_id(data);
    if let Some(id) = &upload {
        assert!(!id.is_empty() && listing(data).is_err());
    }
    let Ok((objects, next)) = listing(data) else { return refused.is_some() || upload.is_some() };
    let mut again = "<ListBucketResult><EncodingType>url</EncodingType>".to_owned();
    let _ = write!(again, "<IsTruncated>{}</IsTruncated>", next.is_some());
    for (key, size) in &objects {
        let key: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
        let _ = write!(again, "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>");
    }
    if next.is_some() {
        again.push_str("<NextContinuationToken>more</NextContinuationToken>");
    }
    again.push_str("</ListBucketResult>");
    let (found, more) = listing(again.as_bytes()).expect("what we wrote");
    assert_eq!((found, more.is_some()), (objects, next.is_some()));
    true
}
