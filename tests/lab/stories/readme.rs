//! The commands of the README that need root and systemd, taken from it word by word.

const README: &str = include_str!("../../../README.md");

/// The shell block that is marked `<!-- lab: NAME -->`.
#[track_caller]
pub fn block(name: &str) -> String {
    let marker = format!("<!-- lab: {name} -->");
    let after = README.split(&marker).nth(1).unwrap_or_else(|| panic!("the README has no {marker}"));
    let block = after.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("no shell block behind {marker}")).to_owned()
}
