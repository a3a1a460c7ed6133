//! Manual pages, for the packages: one for each command, and one for the configuration.
//!
//! It exists so that the pages say what the command line and the shipped configuration say. The directory is written to, nothing else.

use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::args::Cli;
use crate::config::{self, Entry};
use crate::error::{Kind, Result, ResultExt};

const MANUAL: &str = "etcd-lifeboat";

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "done, or nothing to do: the text says which"),
    ("1", "failed, a retry is sensible"),
    ("2", "wrong command line"),
    ("3", "refused: a person must choose; the hint says what to type"),
    ("4", "undecided at the --deadline"),
    ("5", "a snapshot failed verification"),
    ("78", "configuration"),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/lifeboat/lifeboat.toml", "configuration; see lifeboat.toml(5)"),
    ("/etc/lifeboat/conf.d/*.toml", "read after it, by name"),
    ("/etc/lifeboat/token", "the cluster token, unless configured otherwise"),
    ("/etc/lifeboat/restore-once", "the armed restore, unless configured otherwise"),
    ("/var/lib/lifeboat", "spool and history of the agent"),
    ("/var/lib/lifeboat-bootstrap", "what the gate remembers, and etcd.env, which etcd's unit reads"),
];

/// Writes `lifeboat.1`, `lifeboat-<command>.1` for each command, and `lifeboat.toml.5` into `dir`, which is made when it is missing.
pub(super) fn write(dir: &Path) -> Result<ExitCode> {
    std::fs::create_dir_all(dir).or_fail(Kind::Io, || format!("cannot create {}", dir.display()))?;
    let mut pages = Vec::new();
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    commands(&cli, &mut pages)?;
    pages.push(("lifeboat.toml.5".to_owned(), configuration()?));
    for (name, text) in pages {
        let path = dir.join(name);
        std::fs::write(&path, text).or_fail(Kind::Io, || format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn commands(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        commands(inner, pages)?;
    }
    let man = Man::new(command.clone()).manual(MANUAL).source(format!("lifeboat {}", env!("CARGO_PKG_VERSION")));
    let name = man.get_filename();
    let mut page = Vec::new();
    let mut render = || -> std::io::Result<()> {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        if command.get_arguments().any(|a| !a.is_hide_set()) {
            man.render_options_section(&mut page)?;
        }
        if command.get_subcommands().any(|c| !c.is_hide_set()) {
            man.render_subcommands_section(&mut page)?;
        }
        table("EXIT STATUS", EXIT_STATUS).to_writer(&mut page)?;
        table("FILES", FILES).to_writer(&mut page)?;
        see_also(command).to_writer(&mut page)
    };
    render().or_fail(Kind::Internal, || format!("cannot make the page {name}"))?;
    pages.push((name, page));
    Ok(())
}

fn table(heading: &str, rows: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (left, right) in rows {
        roff.control("TP", []);
        roff.text([bold(*left)]);
        roff.text([roman(*right)]);
    }
    roff
}

/// The page above it, and the configuration.
fn see_also(command: &Command) -> Roff {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut pages: Vec<String> = Vec::new();
    if name != "lifeboat" {
        pages.push("lifeboat(1)".into());
    }
    pages.push("lifeboat.toml(5)".into());
    roff.text([roman(pages.join(", "))]);
    roff
}

fn configuration() -> Result<Vec<u8>> {
    let reference = config::reference();
    let mut roff = Roff::new();
    let source = format!("lifeboat {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["lifeboat.toml", "5", "", source.as_str(), MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("lifeboat.toml - configuration of etcd-lifeboat")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman("/etc/lifeboat/lifeboat.toml")]);
    roff.control("br", []);
    roff.text([roman("/etc/lifeboat/conf.d/*.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in &reference.preface {
        roff.control("PP", []);
        roff.text([roman(paragraph.as_str())]);
    }
    for section in &reference.sections {
        roff.control("SH", [section.heading.as_str()]);
        if !section.about.is_empty() {
            roff.text([roman(section.about.as_str())]);
        }
        for key in &section.keys {
            describe(&mut roff, key);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("lifeboat(1), lifeboat-config-check(1), lifeboat-config-show(1)")]);
    let mut page = Vec::new();
    roff.to_writer(&mut page).or_fail(Kind::Internal, || "cannot make the page lifeboat.toml.5")?;
    Ok(page)
}

fn describe(roff: &mut Roff, key: &Entry) {
    roff.control("TP", []);
    let mut head = vec![bold(key.name.as_str()), roman(" = "), italic(key.values.as_str())];
    match &key.default {
        Some(default) => head.push(roman(format!(" [default: {default}]"))),
        None => head.push(roman(" [required]")),
    }
    roff.text(head);
    roff.text([roman(key.about.as_str())]);
    if let Some(example) = &key.example {
        roff.control("IP", []);
        roff.text([roman("Example:")]);
        // As it stands, line by line.
        roff.control("nf", []);
        for line in format!("{} = {example}", key.name).lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As `man` prints it, without line breaks, fonts and escapes.
    fn plain(roff: &str) -> String {
        let text = roff.lines().filter(|l| !l.starts_with('.') || l.starts_with(".SH")).collect::<Vec<_>>().join(" ");
        text.replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace("\\-", "-")
            .replace("\\&", "")
            .replace("\\*(Aq", "'")
    }

    fn pages() -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let mut pages: Vec<(String, String)> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read_to_string(e.path()).unwrap()))
            .collect();
        pages.sort();
        pages
    }

    /// Every command that is not hidden, as (name of its page, command).
    fn all(command: &Command, out: &mut Vec<(String, Command)>) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        out.push((format!("{name}.1"), command.clone()));
        for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            all(inner, out);
        }
    }

    #[test]
    fn pages_and_help_say_the_same() {
        let pages = pages();
        let mut cli = Cli::command().disable_help_subcommand(true);
        cli.build();
        let mut commands = Vec::new();
        all(&cli, &mut commands);
        let mut expected: Vec<String> = commands.iter().map(|(name, _)| name.clone()).collect();
        expected.push("lifeboat.toml.5".into());
        expected.sort();
        assert_eq!(pages.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
        for (name, command) in &mut commands {
            let page = plain(&pages.iter().find(|(n, _)| n == name).unwrap().1);
            // Its lines are wrapped.
            let help = command.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            let about = command.get_about().unwrap().to_string();
            assert!(page.contains(&about) && help.contains(&about), "{name}: {about}");
            for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let shown = match arg.get_long() {
                    Some(long) => format!("--{long}"),
                    None => arg.get_value_names().map_or_else(|| arg.get_id().to_string(), |v| v[0].to_string()),
                };
                let text = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
                assert!(!text.is_empty(), "{name}: {shown} is not explained");
                assert!(page.contains(&shown), "{name} does not name {shown}");
                assert!(page.contains(&text), "{name} does not explain {shown}: {text}");
                assert!(help.contains(&shown), "--help of {name} does not name {shown}");
            }
            for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                assert!(
                    page.contains(&format!("-{}(1)", inner.get_name())),
                    "{name} does not name {}",
                    inner.get_name()
                );
            }
            for (code, meaning) in EXIT_STATUS {
                assert!(page.contains(&format!("{code} {meaning}")), "{name}: {code}");
            }
        }
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key_with_its_default() {
        let pages = pages();
        let page = plain(&pages.iter().find(|(n, _)| n == "lifeboat.toml.5").unwrap().1);
        let mut keys = 0;
        for section in config::reference().sections {
            assert!(page.contains(&section.heading), "{}", section.heading);
            for key in section.keys {
                keys += 1;
                let default = key.default.map_or_else(|| "[required]".to_owned(), |d| format!("[default: {d}]"));
                let head = format!("{} = {} {default}", key.name, key.values);
                assert!(page.contains(&head), "the page lacks {head:?}");
                assert!(page.contains(&key.about), "the page lacks {:?}", key.about);
            }
        }
        assert!(keys > 40, "only {keys} keys");
    }
}
