//! `lifeboat setup` on the root directory of an image: the built binary, real files, no systemd.
//!
//! What a running systemd makes of the drop-ins is the lab's to show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::{Lifeboat, Output};
use tempfile::TempDir;

const FIRST_LINE: &str = "# Written by 'lifeboat setup'; 'lifeboat setup --remove' removes it.\n";
const CONFIG: &str = r#"
[cluster]
name = "prod-eu1"
members = [{ name = "cp1", peer_urls = ["https://10.0.0.1:2380"], client_urls = ["https://10.0.0.1:2379"] }]
[node]
name = "cp1"
[etcd]
data_dir = "/var/lib/etcd/default"
"#;
/// As Debian ships it.
const ETCD: &str = "[Unit]\nDescription=etcd\n[Service]\nEnvironment=DAEMON_ARGS=\nEnvironment=ETCD_NAME=%H\n\
    Environment=ETCD_DATA_DIR=/var/lib/etcd/default\nEnvironmentFile=-/etc/default/%p\nType=notify\nUser=etcd\nExecStart=/usr/bin/etcd $DAEMON_ARGS\n";

struct Image {
    dir: TempDir,
}

impl Image {
    fn new() -> Image {
        let image = Image { dir: tempfile::Builder::new().prefix("lifeboat-setup-").tempdir().unwrap() };
        image.write(
            "usr/lib/systemd/system/lifeboat-bootstrap.service",
            "[Service]\nExecStart=/usr/bin/lifeboat bootstrap\n",
        );
        image.write("usr/lib/systemd/system/etcd.service", ETCD);
        image.write("etc/lifeboat/lifeboat.toml", CONFIG);
        image
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn configure(&self, from: &str, to: &str) {
        let old = fs::read_to_string(self.path("etc/lifeboat/lifeboat.toml")).unwrap();
        assert!(old.contains(from));
        self.write("etc/lifeboat/lifeboat.toml", &old.replace(from, to));
    }

    fn setup(&self, args: &[&str]) -> Output {
        let root = self.dir.path().display().to_string();
        Lifeboat::new(["setup", "--root", &root]).env("CREDENTIALS_DIRECTORY", "/nowhere").run_with(args)
    }

    fn drop_in(&self, unit: &str) -> PathBuf {
        self.path(&format!("etc/systemd/system/{unit}.d/50-lifeboat-setup.conf"))
    }

    /// Every path below etc/systemd, sorted.
    fn tree(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                out.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() {
                    walk(&path, root, out);
                }
            }
        }
        let root = self.path("etc/systemd/system");
        let mut out = Vec::new();
        walk(&root, &root, &mut out);
        out.sort();
        out
    }
}

trait RunWith {
    fn run_with(self, args: &[&str]) -> Output;
}

impl RunWith for Lifeboat {
    fn run_with(self, args: &[&str]) -> Output {
        args.iter().fold(self, |l, a| l.arg(*a)).run()
    }
}

/// Unit -> state, as the report has it.
fn states(out: &Output) -> Vec<(String, String)> {
    let files = out.json()["files"].as_array().unwrap().clone();
    let unit = |path: &str| {
        Path::new(path).parent().unwrap().file_name().unwrap().to_string_lossy().trim_end_matches(".d").to_owned()
    };
    files.iter().map(|f| (unit(f["path"].as_str().unwrap()), f["state"].as_str().unwrap().to_owned())).collect()
}

fn all(units: &[&str], state: &str) -> Vec<(String, String)> {
    units.iter().map(|u| ((*u).to_owned(), state.to_owned())).collect()
}

const UNITS: [&str; 3] = ["lifeboat.service", "lifeboat-credentials.path", "etcd.service"];

#[test]
fn it_is_written_once_and_removed_without_a_trace() {
    let image = Image::new();
    let dry = image.setup(&["--dry-run", "-o", "json"]).ok();
    assert_eq!(states(&dry), all(&UNITS, "written"));
    assert!(dry.json()["files"][2]["content"].as_str().unwrap().contains("Requires=lifeboat-bootstrap.service"));
    assert_eq!(image.tree(), [""; 0], "a dry run writes nothing");

    let first = image.setup(&["-o", "json"]).ok();
    assert_eq!(states(&first), all(&UNITS, "written"));
    assert_eq!(first.json()["reloaded"], false);
    for unit in UNITS {
        let text = fs::read_to_string(image.drop_in(unit)).unwrap();
        assert!(text.starts_with(FIRST_LINE), "{text}");
        assert_eq!(fs::metadata(image.drop_in(unit)).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(image.drop_in(unit).parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o755);
    }
    let before = fs::metadata(image.drop_in("etcd.service")).unwrap().modified().unwrap();
    assert_eq!(states(&image.setup(&["-o", "json"]).ok()), all(&UNITS, "unchanged"));
    assert_eq!(fs::metadata(image.drop_in("etcd.service")).unwrap().modified().unwrap(), before);

    let people = image.setup(&[]).ok().stdout;
    for needle in [
        "etcd.service.d/50-lifeboat-setup.conf",
        "unchanged",
        "nothing was started, stopped or restarted",
        "next:\n  systemctl --root=",
    ] {
        assert!(people.contains(needle), "{needle}:\n{people}");
    }

    // What an interrupted write leaves goes too; what others have put there stays, and a broken configuration does not matter.
    fs::write(image.drop_in("lifeboat.service").with_file_name(".50-lifeboat-setup.conf.0123.part"), "half").unwrap();
    image.write("etc/systemd/system/etcd.service.d/10-mine.conf", "[Service]\nNice=1\n");
    image.write("etc/lifeboat/lifeboat.toml", "[broken");
    let left = ["etcd.service.d", "etcd.service.d/10-mine.conf"];
    assert_eq!(states(&image.setup(&["--remove", "--dry-run", "-o", "json"]).ok()).len(), 3);
    assert_eq!(image.tree().len(), 8);
    let removed = states(&image.setup(&["--remove", "-o", "json"]).ok());
    assert_eq!(removed[0], ("etcd.service".to_owned(), "removed".to_owned()), "etcd's goes first");
    assert_eq!(removed.len(), 3);
    assert_eq!(image.tree(), left);
    let again = image.setup(&["--remove"]).ok();
    assert!(again.stdout.starts_with("nothing of 'lifeboat setup' is here"), "{}", again.text());
    assert_eq!(image.tree(), left);
}

#[test]
fn what_no_longer_applies_is_removed() {
    let image = Image::new();
    image.setup(&[]).ok();
    image.configure("[etcd]", "[etcd]\nunit = \"etcd-main.service\"");
    let moved = image.setup(&["-o", "json"]).ok();
    assert!(states(&moved).contains(&("etcd.service".into(), "removed".into())), "{}", moved.text());
    assert!(states(&moved).contains(&("etcd-main.service".into(), "written".into())), "{}", moved.text());
    assert!(
        moved.json()["notes"][0]["text"].as_str().unwrap().contains("there is no etcd-main.service"),
        "{}",
        moved.text()
    );
    assert!(!image.drop_in("etcd.service").parent().unwrap().exists());

    image.configure("unit = \"etcd-main.service\"", "managed_by = \"kubeadm\"");
    image.configure("/var/lib/etcd/default", "/srv/etcd");
    fs::create_dir(image.path("srv")).unwrap();
    image.setup(&[]).ok();
    assert!(image.drop_in("kubelet.service").exists() && !image.drop_in("etcd-main.service").exists());
    assert_eq!(
        fs::read_to_string(image.drop_in("lifeboat-bootstrap.service")).unwrap().lines().last(),
        Some("ReadWritePaths=-/srv")
    );
    // Back to where the gate's own unit allows everything.
    image.configure("/srv/etcd", "/var/lib/etcd");
    assert!(
        states(&image.setup(&["-o", "json"]).ok()).contains(&("lifeboat-bootstrap.service".into(), "removed".into()))
    );
}

#[test]
fn files_of_others_are_not_touched() {
    let image = Image::new();
    image.write("etc/systemd/system/etcd.service.d/50-lifeboat-setup.conf", "[Service]\nNice=1\n");
    image.write("etc/systemd/system/foo.service.d/50-lifeboat-setup.conf", "");
    image
        .setup(&[])
        .exits_with(3)
        .says(&["etcd.service.d/50-lifeboat-setup.conf is not a file of ours", "hint: rename it"]);
    assert!(!image.drop_in("lifeboat.service").exists(), "nothing was written");
    let removed = image.setup(&["--remove"]).ok();
    assert_eq!(removed.stdout.matches("is not a file of ours").count(), 2, "{}", removed.text());
    assert_eq!(fs::read_to_string(image.drop_in("etcd.service")).unwrap(), "[Service]\nNice=1\n");
}

#[test]
fn units_are_read_as_systemd_would() {
    let image = Image::new();
    let given = |image: &Image| {
        image.setup(&[]).ok();
        fs::read_to_string(image.drop_in("etcd.service"))
            .unwrap()
            .contains("EnvironmentFile=-/var/lib/lifeboat-bootstrap/etcd.env")
    };
    assert!(given(&image));
    // A drop-in of the administrator, in two lines, and one of a lower folder that it hides.
    image.write(
        "usr/lib/systemd/system/etcd.service.d/20-args.conf",
        "[Service]\nEnvironment=ETCD_DATA_DIR=/elsewhere\n",
    );
    image.write(
        "etc/systemd/system/etcd.service.d/20-args.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/etcd \\\n  --name cp1\n",
    );
    assert!(!given(&image), "a flag in a drop-in counts");
    fs::remove_file(image.path("etc/systemd/system/etcd.service.d/20-args.conf")).unwrap();
    image
        .setup(&[])
        .exits_with(78)
        .says(&["its data in /elsewhere (ETCD_DATA_DIR)", "etcd.data_dir is /var/lib/etcd/default"]);
    fs::remove_file(image.path("usr/lib/systemd/system/etcd.service.d/20-args.conf")).unwrap();
    // Flags in a file of variables; an instance of a template; a unit behind a link of the image.
    image.write("etc/etcd.vars", "ARGS=\"--data-dir=/var/lib/etcd/default --name=cp1\"\n");
    image
        .write("opt/units/etcd@.service", "[Service]\nEnvironmentFile=/etc/etcd.vars\nExecStart=/usr/bin/etcd $ARGS\n");
    symlink("/opt/units/etcd@.service", image.path("etc/systemd/system/etcd@.service")).unwrap();
    image.configure("[etcd]", "[etcd]\nunit = \"etcd@a.service\"");
    let out = image.setup(&[]).ok();
    assert!(out.stdout.contains("etcd@a.service sets --name, --data-dir"), "{}", out.text());
    // A new data dir: what our own drop-in has brought does not contradict it.
    image.configure("unit = \"etcd@a.service\"", "environment_file = \"/var/lib/other/etcd.env\"");
    image.setup(&[]).ok();
    image.write("var/lib/other/etcd.env", "ETCD_DATA_DIR=/var/lib/etcd/default\n");
    image.write(
        "usr/lib/systemd/system/etcd.service",
        "[Service]\nEnvironment=ETCD_DATA_DIR=/var/lib/etcd/new\nEnvironmentFile=-/var/lib/other/etcd.env\nExecStart=/usr/bin/etcd\n",
    );
    image.configure("/var/lib/etcd/default", "/var/lib/etcd/new");
    image.configure("/var/lib/other/etcd.env", "/var/lib/third/etcd.env");
    image.setup(&[]).ok();
}

#[test]
fn refusals_write_nothing_and_say_what_to_type() {
    let image = Image::new();
    fs::remove_file(image.path("usr/lib/systemd/system/lifeboat-bootstrap.service")).unwrap();
    image.setup(&[]).exits_with(1).says(&["lifeboat-bootstrap.service is not installed", "hint: install the package"]);
    symlink("/dev/null", image.path("usr/lib/systemd/system/lifeboat-bootstrap.service")).unwrap();
    image.setup(&[]).exits_with(1).says(&["is not installed"]);
    let image = Image::new();
    image.configure("[node]", "[nodd]");
    image.setup(&[]).exits_with(78).says(&["unknown key", "did you mean \"node\""]);
    let image = Image::new();
    image.configure("[node]", "token_file = \"/etc/to\\\"ken\"\n[node]");
    image.setup(&[]).exits_with(78).says(&["cluster.token_file", "'\"'", "hint:"]);
    assert_eq!(image.tree(), [""; 0]);
    Lifeboat::new(["setup", "--root", "/does/not/exist"])
        .run()
        .exits_with(2)
        .says(&["--root /does/not/exist", "hint:"]);
}
