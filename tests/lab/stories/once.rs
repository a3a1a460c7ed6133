//! A restore that was asked for happens once, wherever it was asked for, however often the host boots after it.

use super::site::Site;
use crate::harness::{Lab, Suite};

/// A host with `before` in a snapshot, and `after` in etcd only.
fn two_states(lab: &Lab) -> (Site<'_>, String) {
    let site = Site::running(lab, Suite::Trixie);
    site.put("state", "before");
    let name = site.save("wanted");
    site.put("state", "after");
    (site, name)
}

#[track_caller]
fn restored_once(site: &Site<'_>, reboot: &dyn Fn()) {
    site.wait_etcd();
    assert_eq!((site.get("state").as_str(), site.restores()), ("before", 1));
    assert_eq!(site.aside().lines().count(), 1);
    for round in 1..=2 {
        site.put("state", &format!("new-{round}"));
        reboot();
        site.wait_etcd();
        assert_eq!(site.get("state"), format!("new-{round}"), "reboot {round} restored again");
        assert_eq!(site.restores(), 1);
    }
}

#[test]
fn by_the_file() {
    let lab = Lab::new("once-file");
    let (site, name) = two_states(&lab);
    site.host.ok(&format!("lifeboat restore-once {name}"));
    site.host.reboot();
    restored_once(&site, &|| site.host.reboot());
    assert!(!site.host.run("ls /etc/lifeboat/restore-once").success(), "the request is still armed");
}

#[test]
fn by_the_kernel_command_line() {
    let lab = Lab::new("once-cmdline");
    let (site, name) = two_states(&lab);
    // The argument stays, as in a boot loader's configuration.
    let boot = |id: &str| {
        site.host.power_off();
        site.host.boot_with(&[&format!("lifeboat.restore={name},id={id}")], &[]);
    };
    boot("change-4711");
    restored_once(&site, &|| boot("change-4711"));
    // Asked for again.
    boot("change-4712");
    site.wait_etcd();
    assert_eq!((site.get("state").as_str(), site.restores()), ("before", 2));
}

#[test]
fn by_a_credential() {
    for suite in [Suite::Bookworm, Suite::Trixie] {
        let lab = Lab::new(&format!("once-credential-{}", suite.name()));
        let site = Site::running(&lab, suite);
        site.put("state", "before");
        let name = site.save("wanted");
        site.put("state", "after");
        let boot = || {
            site.host.power_off();
            site.host.boot_with(&[], &[("lifeboat.restore", &name)]);
        };
        boot();
        restored_once(&site, &boot);
    }
}
