//! The store's clock, as its answers show it.
//!
//! It exists because ages across nodes are measured by the store's clock, never by that of a host.

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, HeaderName, LAST_MODIFIED};

use crate::core::model::Timestamp;

static PARSER: DateTimeParser = DateTimeParser::new();

/// The `Date` of an answer (RFC 9110, IMF-fixdate).
pub(super) fn of_answer(headers: &HeaderMap) -> Option<Timestamp> {
    header(headers, &DATE)
}

/// The `Last-Modified` of an object.
pub(super) fn modified(headers: &HeaderMap) -> Option<Timestamp> {
    header(headers, &LAST_MODIFIED)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    PARSER.parse_timestamp(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers() {
        let cases = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("", None),
            ("yesterday", None),
            ("1994-11-06T08:49:37Z", None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, text.parse().expect("header"));
            assert_eq!(of_answer(&headers).map(|t| t.as_second()), expected, "{text:?}");
        }
    }
}
