//! The harness itself, proven: one host, its commands, files, disks and boots.

use std::time::{Duration, Instant};

use crate::harness::{Lab, Suite, Volume};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_host_of_each_suite_boots() {
    let lab = Lab::new("harness-suites");
    for (name, suite, systemd, etcd) in
        [("old", Suite::Bookworm, "systemd 252", "3.4."), ("new", Suite::Trixie, "systemd 257", "3.5.")]
    {
        let host = lab.host(name, suite);
        assert_eq!(host.settle(MINUTE), "running");
        assert!(host.ok("systemctl --version").starts_with(systemd));
        assert!(host.ok("etcd --version").starts_with(&format!("etcd Version: {etcd}")));
        assert_eq!(host.ok("hostname").trim(), name);
        assert_eq!(host.ok("systemctl is-enabled etcd || true").trim(), "disabled");
    }
}

#[test]
fn commands_have_limits_and_no_power_over_the_machine() {
    let lab = Lab::new("harness-commands");
    let host = lab.host("cp1", Suite::Trixie);
    let output = host.run("echo out; echo err >&2; exit 3");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(3), "out\n", "err\n"));
    let start = Instant::now();
    assert_eq!(host.run_for(Duration::from_secs(1), "sleep 100 & sleep 99").code, None);
    assert!(start.elapsed() < Duration::from_secs(8), "the limit came late: {:?}", start.elapsed());
    assert_eq!(host.ok("pgrep -c sleep || true").trim(), "0", "the command is gone, with what it started");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.ok("echo why; exit 9")));
    let said = *caught.expect_err("ok panics").downcast::<String>().expect("a text");
    assert!(said.contains("exit code 9") && said.contains("why"), "{said}");

    // SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME: for commands, and for what the host itself starts.
    let never = (1 << 16) | (1 << 17) | (1 << 22) | (1 << 25_u64);
    for (who, status) in [("a command", "/proc/self/status"), ("process 1", "/proc/1/status")] {
        let held = host.ok(&format!("sed -n 's/^Cap\\(Bnd\\|Eff\\):\\t//p' {status}"));
        for set in held.lines() {
            let set = u64::from_str_radix(set, 16).expect("a set of capabilities");
            // nspawn leaves SYS_BOOT to process 1; there it ends the container and nothing else.
            let allowed = if who == "process 1" { 1 << 22 } else { 0 };
            assert_eq!(set & never & !allowed, 0, "{who} has {set:x}");
        }
    }

    host.write("/etc/a/deep/file", "text", 0o640);
    assert_eq!(host.read("/etc/a/deep/file"), "text");
    assert_eq!(host.ok("stat -c %a:%U /etc/a/deep/file").trim(), "640:root");
    host.power_off();
    assert!(host.exists("/etc/a/deep/file"));
    host.write("/etc/a/deep/file", "changed while off", 0o600);
    host.boot();
    assert_eq!(host.read("/etc/a/deep/file"), "changed while off");
}

#[test]
fn boots_have_arguments_credentials_and_disks() {
    let lab = Lab::new("harness-boots");
    let host = lab.host_off("cp1", Suite::Trixie);
    host.add_volume(&Volume::ext4("/var/lib/etcd", 64));
    host.add_volume(&Volume::tmpfs("/srv/small", 8));
    host.boot_with(&["lab.word=one"], &[("lab.secret", "two three")]);
    let arguments = host.ok("tr '\\0' ' ' </proc/1/cmdline");
    assert!(arguments.contains(" lab.word=one"), "{arguments}");
    assert_eq!(host.read("/run/credentials/@system/lab.secret"), "two three");

    assert_eq!(host.ok("stat -c %U /var/lib/etcd").trim(), "etcd", "as the directory under it");
    assert_eq!(host.ok("findmnt -no FSTYPE /var/lib/etcd").trim(), "ext4");
    assert!(!host.run("head -c 9M /dev/zero > /srv/small/big").success(), "8 MiB are 8 MiB");
    host.ok("rm /srv/small/big; echo kept | tee /srv/small/file > /var/lib/etcd/file");
    let first = host.ok("cat /proc/sys/kernel/random/boot_id; systemctl show -P InvocationID init.scope");
    host.reboot();
    let arguments = host.ok("tr '\\0' ' ' </proc/1/cmdline");
    assert!(arguments.contains(" lab.word=one"), "they stay until they are changed: {arguments}");
    assert_ne!(host.ok("cat /proc/sys/kernel/random/boot_id; systemctl show -P InvocationID init.scope"), first);
    assert_eq!(host.ok("cat /srv/small/file /var/lib/etcd/file"), "kept\nkept\n");

    // A power cut takes no service's leave. The disk can be missing afterwards.
    host.ok("systemd-run --unit=runs sleep infinity");
    host.power_cut();
    assert!(host.offline("/var/lib/etcd/file").exists());
    host.next_boot(|boot| {
        boot.kernel_args.clear();
        boot.credentials.clear();
        boot.without_volumes.push("/var/lib/etcd".to_owned());
    });
    host.boot();
    assert!(!host.ok("tr '\\0' ' ' </proc/1/cmdline").contains("lab.word"));
    assert!(!host.exists("/run/credentials/@system/lab.secret"));
    assert!(!host.exists("/var/lib/etcd/file") && host.exists("/srv/small/file"));
    assert!(!host.journal("-b -1 -u runs").contains("Stopped"), "nobody stopped it");
    host.next_boot(|boot| boot.without_volumes.clear());
    host.reboot();
    assert!(host.exists("/var/lib/etcd/file"));
}
