//! What is kept of a story that failed, under `target/lab/<story>/`.

use std::fs;
use std::path::{Path, PathBuf};

use super::host::Host;
use super::lab::Ground;
use super::machine::{text, try_run};
use super::s3::S3;

/// Shown of each host that is on: file name and command.
const QUESTIONS: [(&str, &str); 6] = [
    ("units.txt", "systemctl list-units --all --no-pager --full; systemctl list-jobs --no-pager"),
    ("status.txt", "systemctl status --no-pager --full --lines=50 'lifeboat*' 'etcd*' 'kubelet*'"),
    ("units-effective.txt", "systemctl cat --no-pager 'lifeboat*' 'etcd*' 'kubelet*'"),
    ("network.txt", "ip addr; ip route; ss -tanp; nft list ruleset"),
    ("disks.txt", "df -h; mount; ls -laR /var/lib/etcd /var/lib/lifeboat /var/lib/lifeboat-bootstrap /etc/lifeboat"),
    ("processes.txt", "ps axfu"),
];

fn target(story: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    target.join("lab").join(story)
}

/// Removes what an earlier run of this story has left.
pub(super) fn clear(story: &str) {
    let _ = fs::remove_dir_all(target(story));
}

/// Keeps all there is. Nothing here panics: the story's own failure is what matters.
pub(super) fn keep(ground: &Ground, hosts: &[Host], s3: Option<&S3>) {
    let dir = target(&ground.story);
    for host in hosts {
        keep_host(host, &dir.join(host.name()));
    }
    if let Some(s3) = s3 {
        for process in ["backend", "gateway"] {
            write(&dir.join("s3"), &format!("{process}.log"), &s3.log(process));
        }
        write(&dir.join("s3"), "objects.txt", &s3.describe());
    }
    // A run with sudo must not leave files that the next `cargo clean` cannot remove.
    let reference = format!("--reference={}", env!("CARGO_TARGET_TMPDIR"));
    let _ = try_run("chown", &["-R", &reference, text(dir.parent().unwrap_or(&dir))]);
    eprintln!("lab: {}: journals and facts are in {}", ground.story, dir.display());
}

fn keep_host(host: &Host, dir: &Path) {
    write(dir, "console.log", &host.console());
    if host.is_on() {
        // It may be frozen: then nothing could be asked.
        host.thaw();
        for (file, question) in QUESTIONS {
            let answer = host.run(question);
            write(dir, file, &format!("# {question}\n{}", answer.text()));
        }
        host.run("journalctl --sync");
    }
    // From outside: it works for a host that is off, too, and has all boots.
    let journal = host.root().join("var/log/journal");
    for (file, format) in [("journal.txt", "short-precise"), ("journal.json", "json")] {
        let args = ["--directory", text(&journal), "--no-pager", "--quiet", "--merge", "-o", format];
        write(dir, file, &try_run("journalctl", &args).unwrap_or_else(|e| e));
    }
    let history = host.offline("/var/lib/lifeboat-bootstrap/history");
    if history.exists()
        && let Err(e) = try_run("cp", &["-a", text(&history), text(&dir.join("history"))])
    {
        eprintln!("lab: {e}");
    }
}

fn write(dir: &Path, file: &str, content: &str) {
    if let Err(e) = fs::create_dir_all(dir).and_then(|()| fs::write(dir.join(file), content)) {
        eprintln!("lab: cannot write {}: {e}", dir.join(file).display());
    }
}
