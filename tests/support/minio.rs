//! MinIO: a real S3 server process, over TLS, with signatures checked and conditional writes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::Port;
use super::process::{Process, wait_until};
use super::tls::TestCa;
use super::tools;

/// A running server. Dropping it kills it and removes what it stored.
pub struct MinIo {
    pub access_key: String,
    pub secret_key: String,
    ca: TestCa,
    port: Port,
    dir: TempDir,
    process: Option<Process>,
}

impl MinIo {
    /// Starts it with these buckets, and waits until it answers. `None`: this machine has no Go to build it.
    pub fn start(buckets: &[&str]) -> Option<MinIo> {
        tools::minio()?;
        let dir = tempfile::Builder::new().prefix("lifeboat-minio-").tempdir().expect("a directory for MinIO");
        // On one disk a folder is a bucket.
        for bucket in buckets {
            fs::create_dir_all(dir.path().join("data").join(bucket)).expect("a bucket");
        }
        let ca = TestCa::new("minio");
        let (cert, key) = ca.issue_pem("127.0.0.1", &[]);
        fs::create_dir(dir.path().join("certs")).expect("a directory for certificates");
        fs::write(dir.path().join("certs/public.crt"), cert).expect("write a certificate");
        fs::write(dir.path().join("certs/private.key"), key).expect("write a key");
        let mut minio = MinIo {
            access_key: "LIFEBOATMINIOKEY".to_owned(),
            secret_key: "lifeboat-minio-secret-0123456789".to_owned(),
            ca,
            port: Port::reserve(),
            dir,
            process: None,
        };
        minio.go_up();
        Some(minio)
    }

    /// Starts it (again) on the same port and data, and waits until it answers.
    pub fn go_up(&mut self) {
        assert!(self.process.is_none(), "MinIO is up");
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut args: Vec<String> = ["server", "--quiet", "--certs-dir"].map(String::from).into();
        args.extend([path("certs"), "--address".to_owned(), format!("127.0.0.1:{}", self.port.number()), path("data")]);
        let env = [
            ("HOME", path("")),
            ("MINIO_ROOT_USER", self.access_key.clone()),
            ("MINIO_ROOT_PASSWORD", self.secret_key.clone()),
            ("MINIO_BROWSER", "off".to_owned()),
            ("MINIO_UPDATE", "off".to_owned()),
            ("MINIO_CALLHOME_ENABLE", "off".to_owned()),
        ];
        let env: Vec<_> = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let program = tools::minio().expect("it was there");
        self.process = Some(Process::start(&program, &args, &env, &self.dir.path().join("minio.log")));
        self.wait_ready();
    }

    /// SIGKILL: connection refused from now on.
    pub fn go_down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    fn wait_ready(&mut self) {
        let process = self.process.as_mut().expect("it was started");
        let port = self.port.number();
        // It listens before its disk is ready, and answers 503 until then.
        let ready = format!("https://127.0.0.1:{port}/minio/health/ready");
        let ca = self.ca.ca_pem().as_bytes().to_vec();
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let ca = reqwest::Certificate::from_pem(&ca).expect("a CA");
                let client = reqwest::Client::builder().add_root_certificate(ca).build().expect("a client");
                for _ in 0..600 {
                    if client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                false
            })
        });
        wait_until("MinIO is ready", Duration::from_secs(90), || {
            process.expect_running();
            asked.is_finished()
        });
        assert!(asked.join().expect("an answer"), "MinIO is not ready: {}", process.output());
    }

    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port.number())
    }

    /// PEM file of the CA that its certificate is from.
    pub fn ca_file(&self) -> PathBuf {
        self.ca.ca_file()
    }

    /// Uploads in parts that are neither complete nor aborted, as they lie on its disk.
    pub fn unfinished_uploads(&self) -> Vec<String> {
        let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        let objects = entries(self.dir.path().join("data/.minio.sys/multipart"));
        objects.flat_map(entries).map(|path| path.display().to_string()).collect()
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}
