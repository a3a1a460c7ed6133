//! Which object keys we write and accept, the same in every backend.
//!
//! It exists because a key becomes a path in one backend and a URL in the other: both must refuse what either could
//! misread (`..`, absolute, empty components, control characters).

/// S3's limit for a whole key, folder included, in bytes.
const LONGEST_KEY: usize = 1024;
/// What file systems allow for one component, in bytes.
const LONGEST_COMPONENT: usize = 255;

/// Checks a key relative to the folder.
///
/// # Errors
/// The reason, in words, when the key could leave the folder or cannot be stored everywhere.
pub(super) fn check(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("it is empty".to_owned());
    }
    if key.len() > LONGEST_KEY {
        return Err(format!("it is longer than {LONGEST_KEY} bytes"));
    }
    check_characters(key)?;
    key.split('/').try_for_each(check_component)
}

/// Checks the prefix of a listing: complete components as in a key, the last one may be cut anywhere.
///
/// # Errors
/// As [`check`].
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.len() > LONGEST_KEY {
        return Err(format!("it is longer than {LONGEST_KEY} bytes"));
    }
    check_characters(prefix)?;
    match prefix.rsplit_once('/') {
        Some((folders, _)) => folders.split('/').try_for_each(check_component),
        None => Ok(()),
    }
}

fn check_characters(text: &str) -> Result<(), String> {
    // Some stores (SeaweedFS) read it as a slash.
    if text.contains('\\') {
        return Err("a backslash is not allowed".to_owned());
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("the control character {c:?} is not allowed")),
        None => Ok(()),
    }
}

fn check_component(component: &str) -> Result<(), String> {
    match component {
        "" => Err("it has an empty component (a slash at the start or end, or two in a row)".to_owned()),
        "." | ".." => Err(format!("the component {component:?} is not allowed")),
        long if long.len() > LONGEST_COMPONENT => Err(format!("a component is longer than {LONGEST_COMPONENT} bytes")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_folder_are_refused() {
        let long = "x".repeat(256);
        let longer = "x/".repeat(600);
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\0b", "a\nb", "a\\b", "\u{7f}", &long,
            &longer,
        ] {
            assert!(check(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "snapshots/x.db.gz", "a b+c%2e&=?#é'\"<>", "..a/b..", ".hidden"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_prefix_may_be_cut_anywhere_but_not_leave_the_folder() {
        for bad in ["/", "../", "a/../", "a//", "./x", "a\0"] {
            assert!(check_prefix(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["", "a", "a/", "a/b", "snapshots/etcd-", ".."] {
            assert_eq!(check_prefix(good), Ok(()), "{good:?}");
        }
    }
}
