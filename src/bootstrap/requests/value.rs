//! What kernel command line and credential ask for: `<name|latest>[,id=<word>]`.
//!
//! It exists so that both have one syntax, and one rule for the id under which a request is done once: the word that a person gives, else source and
//! value. Without a word the same value is done once for ever.

use sha2::{Digest, Sha256};

use crate::core::facts::{Cause, CauseCode, Request, RequestSource};
use crate::core::model::SnapshotName;

/// Longest word after `id=`.
const LONGEST_WORD: usize = 64;

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing is asked for.
    Nothing,
    /// Something that is not acted on, and said.
    Remark(String),
    /// A restore is asked for.
    Asked(Request),
    /// Something is asked for that cannot be understood. A person can take it back under this id.
    Malformed { id: String, cause: Cause },
    /// It could not be read.
    Unknown(Cause),
}

/// The name of a source in ids.
fn label(source: RequestSource) -> &'static str {
    match source {
        RequestSource::File => "file",
        RequestSource::KernelCommandLine => "cmdline",
        RequestSource::Credential => "credential",
    }
}

/// What `text` asks for; `found_in` names the place.
pub(super) fn parse(text: &str, source: RequestSource, found_in: &str) -> Found {
    let text = text.trim();
    if text.is_empty() {
        return Found::Remark(format!("{found_in} has an empty lifeboat.restore, which asks for nothing"));
    }
    match understand(text) {
        Ok((snapshot, word)) => Found::Asked(Request {
            id: word.map_or_else(|| format!("{}:{snapshot}", label(source)), str::to_owned),
            snapshot: snapshot.to_owned(),
            found_in: found_in.to_owned(),
            source,
        }),
        Err(why) => malformed(text, source, format!("{found_in} asks with lifeboat.restore={}: {why}", shown(text))),
    }
}

/// A request that cannot be understood, and why.
pub(super) fn malformed(text: &str, source: RequestSource, why: String) -> Found {
    // It may be of any length and content; the id is one word.
    let digest: String = hex::encode(Sha256::digest(text)).chars().take(16).collect();
    Found::Malformed {
        id: format!("{}:malformed:{digest}", label(source)),
        cause: Cause {
            code: CauseCode::BadRecord,
            text: why,
            hint: Some(
                "to go on without it, type: lifeboat restore-once --cancel; to restore, correct it and boot again, or type: lifeboat restore-once NAME"
                    .to_owned(),
            ),
        },
    }
}

fn understand(text: &str) -> Result<(&str, Option<&str>), String> {
    let (snapshot, word) = match text.split_once(',') {
        None => (text, None),
        Some((snapshot, rest)) => match rest.strip_prefix("id=") {
            Some(word) => (snapshot, Some(word)),
            None => return Err("after the name only ,id=<word> may stand".to_owned()),
        },
    };
    if snapshot != "latest" {
        SnapshotName::new(snapshot).map_err(|e| e.to_string())?;
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match word {
        Some(word) if word.is_empty() || word.len() > LONGEST_WORD || !word.chars().all(fits) => {
            Err(format!("the word after id= has 1 to {LONGEST_WORD} letters, digits, '.', '_' and '-'"))
        }
        word => Ok((snapshot, word)),
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let source = RequestSource::KernelCommandLine;
        for (text, expected) in [
            ("latest", Ok(("latest", "cmdline:latest"))),
            (" latest\n", Ok(("latest", "cmdline:latest"))),
            ("before-upgrade", Ok(("before-upgrade", "cmdline:before-upgrade"))),
            ("latest,id=2024-01-15", Ok(("latest", "2024-01-15"))),
            ("a.b_c-1,id=x", Ok(("a.b_c-1", "x"))),
            ("../a", Err("not allowed")),
            ("latest,", Err("only ,id=<word>")),
            ("latest,di=1", Err("only ,id=<word>")),
            ("latest,id=", Err("1 to 64")),
            ("latest,id=a b", Err("1 to 64")),
            ("latest,id=pin:a", Err("1 to 64")),
            ("latest,id=a,id=b", Err("1 to 64")),
            (",id=a", Err("empty")),
            ("latest id=a", Err("not allowed")),
            ("\u{1b}[31m", Err("not allowed")),
        ] {
            match (parse(text, source, "the place"), expected) {
                (Found::Asked(r), Ok((snapshot, id))) => {
                    assert_eq!((r.snapshot.as_str(), r.id.as_str(), r.source), (snapshot, id, source), "{text:?}");
                    assert_eq!(r.found_in, "the place");
                }
                (Found::Malformed { id, cause }, Err(why)) => {
                    assert!(
                        cause.text.starts_with("the place asks") && cause.text.contains(why),
                        "{text:?}: {cause:?}"
                    );
                    assert!(!cause.text.contains('\u{1b}') && id.starts_with("cmdline:malformed:"), "{id}: {cause:?}");
                    assert!(cause.hint.is_some_and(|h| h.contains("restore-once --cancel")), "{text:?}");
                }
                (found, expected) => panic!("{text:?}: {found:?} for {expected:?}"),
            }
        }
        assert!(matches!(parse(" \n", source, "the place"), Found::Remark(_)));
        // Two mistakes are two requests.
        let id = |text| match parse(text, source, "x") {
            Found::Malformed { id, .. } => id,
            other => panic!("{other:?}"),
        };
        assert_ne!(id("a,b"), id("a,c"));
    }
}
