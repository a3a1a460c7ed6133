//! `rclone serve s3`: a real S3 server that checks signatures and ignores the conditions of writes.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::Port;
use super::process::{Process, wait_until};
use super::tools;

/// A running server over a directory. Dropping it kills it and removes what it stored.
pub struct Rclone {
    pub access_key: String,
    pub secret_key: String,
    port: Port,
    dir: TempDir,
    process: Process,
}

impl Rclone {
    /// Starts it with these buckets, and waits until it answers.
    pub fn start(buckets: &[&str]) -> Rclone {
        let dir = tempfile::Builder::new().prefix("lifeboat-rclone-").tempdir().expect("a directory for rclone");
        for bucket in buckets {
            fs::create_dir_all(dir.path().join("data").join(bucket)).expect("a bucket");
        }
        let (access_key, secret_key) = ("LIFEBOATRCLONEKEY".to_owned(), "lifeboat-rclone-secret-0123456789".to_owned());
        let port = Port::reserve();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut args: Vec<String> = ["serve", "s3", "--config", "/dev/null", "--cache-dir"].map(String::from).into();
        args.extend([path("cache"), format!("--addr=127.0.0.1:{}", port.number())]);
        args.extend([format!("--auth-key={access_key},{secret_key}"), path("data")]);
        let env = [("HOME".to_owned(), path(""))];
        let mut process = Process::start(&tools::rclone(), &args, &env, &dir.path().join("rclone.log"));
        wait_until("rclone listens", Duration::from_secs(60), || {
            process.expect_running();
            TcpStream::connect(("127.0.0.1", port.number())).is_ok()
        });
        Rclone { access_key, secret_key, port, dir, process }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }
}
