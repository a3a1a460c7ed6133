//! SeaweedFS: a real S3 server process that checks signatures and honours conditional writes.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::Port;
use super::process::{Process, wait_until};
use super::tools;

const SERVICES: [&str; 4] = ["master", "volume", "filer", "s3"];

/// A running server with one identity. Dropping it kills it and removes what it stored.
pub struct Weed {
    pub access_key: String,
    pub secret_key: String,
    ports: Vec<Port>,
    dir: TempDir,
    args: Vec<String>,
    process: Option<Process>,
}

impl Weed {
    /// Starts it and waits until it answers S3 requests.
    pub fn start() -> Weed {
        let dir = tempfile::Builder::new().prefix("lifeboat-weed-").tempdir().expect("a directory for SeaweedFS");
        fs::create_dir(dir.path().join("data")).expect("a data directory");
        let (access_key, secret_key) = ("LIFEBOATWEEDKEY".to_owned(), "lifeboat-weed-secret-0123456789".to_owned());
        let identities = serde_json::json!({"identities": [{
            "name": "lifeboat",
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }]});
        fs::write(dir.path().join("s3.json"), identities.to_string()).expect("write s3.json");
        let ports: Vec<Port> = (0..8).map(|_| Port::reserve()).collect();
        let mut args: Vec<String> =
            ["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"].map(String::from).into();
        args.push(format!("-dir={}", dir.path().join("data").display()));
        args.push(format!("-s3.config={}", dir.path().join("s3.json").display()));
        // Services with fixed ports of their own are off, and so is its telemetry.
        args.extend(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"].map(String::from));
        args.extend(["-volume.max=50", "-master.volumeSizeLimitMB=1024"].map(String::from));
        for service in ["filer", "s3"] {
            args.push(format!("-{service}.localSocket={}", dir.path().join(service).display()));
        }
        for (service, pair) in SERVICES.iter().zip(ports.chunks(2)) {
            if let [http, grpc] = pair {
                args.push(format!("-{service}.port={}", http.number()));
                args.push(format!("-{service}.port.grpc={}", grpc.number()));
            }
        }
        let mut weed = Weed { access_key, secret_key, ports, dir, args, process: None };
        weed.go_up();
        weed
    }

    /// Starts it (again) on the same ports and data, and waits until it answers.
    pub fn go_up(&mut self) {
        assert!(self.process.is_none(), "SeaweedFS is up");
        // It writes where it stands and below its home.
        let home = self.dir.path().display().to_string();
        let env = [("HOME".to_owned(), home.clone()), ("TMPDIR".to_owned(), home)];
        self.process = Some(Process::start(&tools::weed(), &self.args, &env, &self.dir.path().join("weed.log")));
        self.wait_ready();
    }

    /// SIGKILL: connection refused from now on.
    pub fn go_down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
        self.remove_sockets();
    }

    /// It puts these there whatever TMPDIR says, and does not start over one that is left.
    fn remove_sockets(&self) {
        for (service, pair) in SERVICES.iter().zip(self.ports.chunks(2)) {
            if let [_, grpc] = pair {
                let _ = fs::remove_file(format!("/tmp/seaweedfs-{service}-grpc-{}.sock", grpc.number()));
            }
        }
        for service in ["filer", "s3"] {
            let _ = fs::remove_file(self.dir.path().join(service));
        }
    }

    fn wait_ready(&mut self) {
        let port = self.s3_port();
        let process = self.process.as_mut().expect("it was started");
        // The gateway listens before the filer behind it can store anything; it answers 403 to strangers once it can.
        wait_until("SeaweedFS answers S3 requests", Duration::from_secs(60), || {
            process.expect_running();
            status_line(port).is_some_and(|line| line.contains(" 403 "))
        });
    }

    /// Creates a bucket through the S3 API.
    pub async fn create_bucket(&self, name: &str) {
        let region = ::s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: self.endpoint() };
        let credentials =
            ::s3::creds::Credentials::new(Some(&self.access_key), Some(&self.secret_key), None, None, None)
                .expect("credentials");
        let mut last = String::new();
        for _ in 0..60 {
            let made = ::s3::Bucket::create_with_path_style(
                name,
                region.clone(),
                credentials.clone(),
                ::s3::BucketConfiguration::default(),
            );
            match made.await {
                Ok(made) if made.success() => return,
                Ok(made) => last = made.response_text,
                Err(e) => last = e.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("SeaweedFS did not create the bucket {name}: {last}");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port())
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    fn s3_port(&self) -> u16 {
        self.ports.get(6).expect("eight ports").number()
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn status_line(port: u16) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut head = [0; 64];
    let n = stream.read(&mut head).ok()?;
    head.get(..n).map(|h| String::from_utf8_lossy(h).lines().next().unwrap_or_default().to_owned())
}
