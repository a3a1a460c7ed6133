//! Configuration: a file, a drop-in over a good file, or variables. It is refused as a configuration (never as a defect of ours), or
//! taken, the same each time; and a secret is in no message.

use std::fmt::Write;

use etcd_lifeboat::config::{Loaded, load_texts};
use etcd_lifeboat::error::{Kind, Result};

const GOOD: &str = r#"
[cluster]
name = "c"
token_file = "/t"
members = [{ name = "a", peer_urls = ["http://10.0.0.1:2380"], client_urls = ["http://10.0.0.1:2379"] }]
[node]
name = "a"
[store]
backend = "s3"
[store.s3]
endpoint = "s3.example.org"
bucket = "snapshots"
access_key = "QXJKZWV4"
secret_key = "QXJKZWV4"
"#;
const SECRET: &str = "QXJKZWV4";

pub fn run(data: &[u8]) -> bool {
    let [what, text @ ..] = data else { return false };
    let text = String::from_utf8_lossy(text);
    match what % 3 {
        0 => judge(&text, || load_texts(&[("main.toml", &text)], Vec::new())),
        1 => judge(&text, || load_texts(&[("main.toml", GOOD), ("conf.d/more.toml", &text)], Vec::new())),
        _ => {
            let pair = |line: &str| line.split_once('=').map(|(a, b)| (format!("LIFEBOAT_{a}"), b.to_owned()));
            let env: Vec<_> = text.lines().filter_map(pair).take(32).collect();
            judge(&text, || load_texts(&[("main.toml", GOOD)], env.clone()))
        }
    }
}

fn judge(text: &str, load: impl Fn() -> Result<Loaded>) -> bool {
    match load() {
        Ok(loaded) => {
            let told: Vec<_> = loaded.explain();
            assert!(!told.is_empty());
            let again = load().expect("the same texts");
            let (first, second) = (format!("{:?}", loaded.settings), format!("{:?}", again.settings));
            assert_eq!(first, second);
            no_secret(text, &format!("{first}{told:?}"));
            true
        }
        Err(e) => {
            assert_eq!(e.kind(), Kind::Config, "{e:?}");
            let mut said = e.one_line();
            assert!(!said.trim().is_empty());
            let _ = write!(said, "{e:?}{:?}", e.hint_text());
            no_secret(text, &said);
            false
        }
    }
}

fn no_secret(text: &str, said: &str) {
    assert!(text.contains(SECRET) || !said.contains(SECRET), "a secret is told: {said}");
}
