//! AWS Signature Version 4 in headers, by rust-s3's signing functions.
//!
//! It exists so that every header of a request is signed, and over plain HTTP the payload with it. Over TLS the payload of a part is not
//! hashed a second time (`UNSIGNED-PAYLOAD`): TLS guards it on its way, and whoever reads it compares it with the manifest's digest.
//! The signature is made for one moment; a request that is sent again is signed again.

use hmac::Mac;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use s3::creds::time::OffsetDateTime;
use s3::{Region, signing};
use secrecy::ExposeSecret;
use url::Url;

use crate::core::model::Timestamp;

use super::credentials::Keys;

/// Adds host, date, payload digest, session token and signature to `headers`.
///
/// # Errors
/// In words without secrets, when a value cannot be a header.
pub(super) fn sign(
    method: &Method,
    url: &Url,
    headers: &mut HeaderMap,
    payload_sha256: &str,
    keys: &Keys,
    region: &Region,
    now: Timestamp,
) -> Result<(), String> {
    let at = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|_| "this host's clock is out of range")?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err("the URL has no host".to_owned()),
    };
    headers.insert(HOST, value(&host, "host")?);
    headers.insert("x-amz-date", value(&now.strftime("%Y%m%dT%H%M%SZ").to_string(), "date")?);
    headers.insert("x-amz-content-sha256", value(payload_sha256, "digest")?);
    if let Some(token) = &keys.token {
        let mut token = value(token.expose_secret(), "session token")?;
        token.set_sensitive(true);
        headers.insert("x-amz-security-token", token);
    }
    let wrong = |_| "the request cannot be signed".to_owned();
    let request = signing::canonical_request(method.as_str(), url, headers, payload_sha256).map_err(wrong)?;
    let to_sign = signing::string_to_sign(&at, region, &request).map_err(wrong)?;
    let key = signing::signing_key(&at, keys.secret.expose_secret(), region, "s3").map_err(wrong)?;
    let mut mac = signing::HmacSha256::new_from_slice(&key).map_err(|_| "the request cannot be signed")?;
    mac.update(to_sign.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let signed = signing::signed_header_string(headers);
    let authorization = signing::authorization_header(&keys.access, &at, region, &signed, &signature).map_err(wrong)?;
    let mut authorization = value(&authorization, "access key")?;
    authorization.set_sensitive(true);
    headers.insert(AUTHORIZATION, authorization);
    Ok(())
}

fn value(text: &str, what: &str) -> Result<HeaderValue, String> {
    // Only visible ASCII: `canonical_request` needs it as text again.
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(format!("the {what} has a line break or another character that no header may have"));
    }
    HeaderValue::from_str(text).map_err(|_| format!("the {what} cannot be a header"))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// AWS' published example: "GET Object", Signature Calculations for the Authorization Header.
    #[test]
    fn the_published_example_comes_out() {
        let keys = Keys::given("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let region = Region::Custom { region: "us-east-1".to_owned(), endpoint: String::new() };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").expect("url");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().expect("time");
        sign(&Method::GET, &url, &mut headers, empty, &keys, &region, now).expect("signed");
        let authorization = headers.get(AUTHORIZATION).expect("authorization");
        assert!(authorization.is_sensitive());
        assert_eq!(
            authorization.to_str().expect("text"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn a_secret_with_a_line_break_in_the_token_is_refused_without_showing_it() {
        let mut keys = Keys::given("id", "secret");
        keys.token = Some(SecretString::from("hunter2\n".to_owned()));
        let region = Region::Custom { region: "r".to_owned(), endpoint: String::new() };
        let url = Url::parse("https://h/b").expect("url");
        let e = sign(&Method::GET, &url, &mut HeaderMap::new(), "", &keys, &region, Timestamp::UNIX_EPOCH)
            .expect_err("refused");
        assert!(e.contains("session token") && !e.contains("hunter2"), "{e}");
    }
}
