//! The journal catalog explains every event, and names only commands that there are.

use clap::CommandFactory;
use etcd_lifeboat::cli::args::Cli;
use etcd_lifeboat::telemetry::Event;

use super::read;

const FILE: &str = "packaging/catalog/lifeboat.catalog";

/// (id, headers, text) of each entry.
fn entries() -> Vec<(String, String, String)> {
    let text = read(FILE);
    let entry = |part: &str| {
        let (id, rest) = part.split_once('\n').unwrap();
        let (headers, body) = rest.split_once("\n\n").unwrap_or_else(|| panic!("{id} has no text"));
        (id.to_owned(), headers.to_owned(), body.to_owned())
    };
    text.split("\n-- ").skip(1).map(entry).collect()
}

#[test]
fn every_event_has_its_entry() {
    let ids: Vec<String> = entries().into_iter().map(|(id, _, _)| id).collect();
    let events: Vec<&str> = Event::ALL.iter().map(|e| e.message_id()).collect();
    assert_eq!(ids, events, "the entries of {FILE} in the order of src/telemetry/events.rs");
}

#[test]
fn every_entry_says_what_happened_and_what_to_type() {
    for (id, headers, text) in entries() {
        let header = |name: &str| headers.lines().any(|l| l.starts_with(&format!("{name}: ")));
        assert!(header("Subject") && header("Documentation"), "{id}: {headers}");
        assert!(headers.contains("\nDefined-By: etcd-lifeboat\n"), "{id}: {headers}");
        let typed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("    ")).collect();
        assert!(!typed.is_empty(), "{id} says nothing to type");
        assert!(text.lines().any(|l| !l.starts_with(' ') && l.len() > 40), "{id} explains nothing");
        for line in typed {
            check_command(&id, line);
        }
        for page in headers.split_whitespace().filter_map(|w| w.strip_prefix("man:lifeboat-")) {
            let name = page.strip_suffix("(1)").unwrap_or_else(|| panic!("{id}: {page}"));
            assert!(Cli::command().find_subcommand(name).is_some(), "{id} names the page of lifeboat {name}");
        }
    }
}

/// A line to type is one of ours that clap accepts, or one of systemd's.
fn check_command(id: &str, line: &str) {
    if line.starts_with("systemctl status lifeboat") || line.starts_with("journalctl -u lifeboat") {
        return;
    }
    // Fields of the journal stand for names.
    let words = line.split_whitespace().map(|w| if w.starts_with('@') { "latest" } else { w });
    let parsed = Cli::command().try_get_matches_from(words);
    assert!(parsed.is_ok(), "{id} says to type {line:?}: {}", parsed.err().unwrap());
}
