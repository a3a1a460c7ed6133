//! Files of a host, on or off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::host::Host;

const LIMIT: Duration = Duration::from_secs(60);

impl Host {
    /// Writes a file, owned by root, with this mode; its directory is made when it is missing.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        if self.is_on() {
            let line = format!("mkdir -p \"$(dirname '{path}')\" && cat > '{path}' && chmod {mode:o} '{path}'");
            let output = self.run_with(LIMIT, &line, content.as_ref());
            assert!(output.success(), "{output}");
            return;
        }
        let path = self.offline(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("the directory of a file");
        fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the mode of a file");
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        if self.is_on() {
            return self.ok(&format!("cat '{path}'"));
        }
        let path = self.offline(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    }

    pub fn exists(&self, path: &str) -> bool {
        if self.is_on() {
            return self.run(&format!("test -e '{path}'")).success();
        }
        self.offline(path).exists()
    }

    /// Copies a file of the machine into the host.
    #[track_caller]
    pub fn copy_in(&self, from: &std::path::Path, to: &str, mode: u32) {
        let content = fs::read(from).unwrap_or_else(|e| panic!("cannot read {}: {e}", from.display()));
        self.write(to, content, mode);
    }

    /// Where the machine has this path while the host is off: on the host's disk, or on a volume.
    pub fn offline(&self, path: &str) -> PathBuf {
        let volume = self.volume_mounts().into_iter().find_map(|(at, source)| {
            let rest = path.strip_prefix(at.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| source.join(rest.trim_start_matches('/')))
        });
        volume.unwrap_or_else(|| self.root().join(path.trim_start_matches('/')))
    }
}
