//! The scripts of both packages do the same, leave etcd alone, and the gate until they go.

use super::{files, read};

const FIRST_LINE: &str = "# Written by 'lifeboat setup'; 'lifeboat setup --remove' removes it.";

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from:?} is missing"));
    let rest = &text[start..];
    &rest[..rest.find(to).unwrap_or_else(|| panic!("{to:?} is missing")) + to.len()]
}

#[test]
fn both_packages_remove_the_drop_ins_alike_and_first() {
    let (prerm, spec) = (read("packaging/deb/prerm"), read("packaging/rpm/lifeboat.spec"));
    let preun = between(&spec, "%preun\n", "\n%postun");
    for function in ["end_waiting_gate() {", "gate_is_at_work() {", "name_others() {", "remove_drop_ins() {"] {
        assert_eq!(between(&prerm, function, "\n}\n"), between(preun, function, "\n}\n"));
    }
    for script in [prerm.as_str(), preun] {
        assert!(script.contains(&format!("first_line=\"{FIRST_LINE}\"")), "{script}");
        let call = script.rfind("    remove_drop_ins\n").unwrap();
        let stop = script.find("systemctl stop").unwrap();
        assert!(call < stop, "the drop-ins go first: {script}");
        assert!(!script.contains("lifeboat setup --remove\n"), "it must work when the program does not");
    }
}

/// A gate that does not end keeps the package, and with it what holds etcd back.
#[test]
fn a_gate_at_work_is_ended_before_anything_goes() {
    let prerm = read("packaging/deb/prerm");
    let functions =
        ["end_waiting_gate() {", "gate_is_at_work() {"].map(|function| between(&prerm, function, "\n}\n")).join("\n");
    for (ends_at, code, kills) in [("never-at-work", 0, 0), ("TERM", 0, 1), ("KILL", 0, 2), ("nothing", 1, 3)] {
        let fake = format!(
            "sleep() {{ :; }}\nstate=activating\n[ {ends_at} != never-at-work ] || state=inactive\n\
             systemctl() {{\n\
               case $1 in\n\
                 is-active) echo $state ;;\n\
                 kill) echo $2 >&2; [ $2 != --signal={ends_at} ] || state=inactive; return 1 ;;\n\
               esac\n\
             }}\n"
        );
        // In a subshell of $( ) the state of the parent is seen.
        let script = format!("set -e\n{functions}\n{fake}\nend_waiting_gate\necho removed\n");
        let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{ends_at}: {said}");
        assert_eq!(said.matches("--signal=").count(), kills, "{ends_at}: {said}");
        assert_eq!(String::from_utf8_lossy(&out.stdout).contains("removed"), code == 0, "{ends_at}");
        assert_eq!(said.contains("nothing was removed"), code == 1, "{ends_at}: {said}");
    }
}

#[test]
fn the_user_is_made_alike() {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let file = read("packaging/sysusers.d/lifeboat.conf");
    let spec = read("packaging/rpm/lifeboat.spec");
    let line = |text: &str| text.lines().find(|l| l.starts_with("u ")).map(words).unwrap();
    assert_eq!(line(&file), line(&spec));
}

/// Nothing is enabled or started; the agent alone is restarted or stopped.
#[test]
fn scripts_touch_the_agent_only() {
    let mut scripts: Vec<(String, String)> = files("packaging/deb")
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .map(|n| (n.clone(), read(&format!("packaging/deb/{n}"))))
        .collect();
    scripts.retain(|(_, text)| text.starts_with("#!/bin/sh"));
    assert_eq!(scripts.len(), 3, "postinst, postrm, prerm");
    scripts.push(("lifeboat.spec".into(), read("packaging/rpm/lifeboat.spec")));
    let allowed = [
        "systemctl daemon-reload",
        "systemctl try-restart lifeboat.service",
        "systemctl stop lifeboat.service lifeboat-credentials.path",
        "systemctl --quiet disable lifeboat.service",
        "systemctl --no-reload preset lifeboat.service",
        // Only when the package goes.
        "systemctl is-active lifeboat-bootstrap.service",
        "systemctl kill --signal=$signal lifeboat-bootstrap.service || true",
    ];
    for (name, text) in scripts {
        let mut calls = 0;
        for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#') && !l.starts_with("echo ")) {
            let Some(at) = line.find("systemctl ") else { continue };
            calls += 1;
            assert!(allowed.iter().any(|a| line[at..].starts_with(a)), "{name}: {line}");
        }
        assert!(calls > 0, "{name}: no call was found");
    }
}

#[test]
fn nothing_is_enabled_by_default() {
    let preset = read("packaging/preset/90-lifeboat.preset");
    let rules: Vec<&str> = preset.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(rules, ["disable lifeboat.service"]);
}
