//! The events that people search for, each with its journal message id.
//!
//! It exists so that `journalctl LIFEBOAT_EVENT=...` and `journalctl -x` find the same thing on every version: names
//! and ids never change. An event is emitted once per decision, with [`crate::event!`]. It may not decide anything.

use tracing::Level;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident $level:ident $id:literal,)+) => {
        /// An event. Its fields are given by who emits it: `snapshot`, `revision`, `generation`, `rule`, `kind`, ...
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event {
            $($(#[$doc])* $name,)+
        }

        impl Event {
            /// All of them.
            pub const ALL: &'static [Event] = &[$(Event::$name),+];

            /// The value of `LIFEBOAT_EVENT`.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$name => stringify!($name),)+ }
            }

            /// The value of `MESSAGE_ID`: 32 lower-case hexadecimal digits (systemd, "journal message catalogs").
            pub const fn message_id(self) -> &'static str {
                match self { $(Event::$name => $id,)+ }
            }

            /// How loud it is.
            pub const fn level(self) -> Level {
                match self { $(Event::$name => Level::$level,)+ }
            }
        }
    };
}

events! {
    /// A snapshot was begun.
    BackupStarted INFO "d8ec60be30684f3dbf7767b08b5dca07",
    /// A saved snapshot is being sent to the store.
    BackupUploading INFO "50870131ccae47959f814b543e997497",
    /// A snapshot is in the store, manifest included.
    BackupSuccessful INFO "0b32240c4db34eeeb7e6ceed62d1806d",
    /// A snapshot could not be saved or sent.
    BackupError ERROR "d5f0aa1628e84726ba9ad823fd4103b0",
    /// A restored data dir is in place.
    RestoreSuccessful INFO "fd9f0024bab7410d85ff2936fb0ec4c8",
    /// There is no state to restore.
    RestoreSkipped INFO "47c971dbb4bd4a059483d929b609285d",
    /// A restore failed.
    RestoreError ERROR "393e3bcf4a0b44ee902b1381ecc5f9b1",
    /// A person must decide; nothing was changed.
    RestoreRefused ERROR "0bb038a1ced64ab0b7b6bd7ff6f3921c",
    /// This host is the seed.
    SeedElected INFO "e75230bdb7e147f0a71deb63c1551dbe",
    /// A plan was written.
    PlanCreated INFO "7a4cf6cc299e4cd4a9749af56ee90cb1",
    /// Member data was moved aside.
    Quarantined WARN "d0727faac93a4ad1bd87f2fe2ba06fba",
    /// A stored snapshot is not what it should be.
    VerifyFailed ERROR "d15d22222fb24d26b4bf9f54855d332f",
    /// A stored snapshot was restored into scratch space and is whole.
    DrillSucceeded INFO "6ca3980e9ea546579fb0461de5cfb5b3",
    /// Old snapshots were removed.
    PruneCompleted INFO "92773d773d4b43ff866cc51e2c887715",
}

/// Emits an [`Event`](crate::telemetry::Event) with typed fields and a text:
/// `event!(BackupSuccessful, snapshot = %name, revision = 5, "snapshot is in the store")`.
///
/// In the journal the field names are upper-case and have no prefix: `SNAPSHOT`, `REVISION`.
#[macro_export]
macro_rules! event {
    ($name:ident, $($rest:tt)+) => {
        ::tracing::event!(
            target: "etcd_lifeboat::event",
            $crate::telemetry::Event::$name.level(),
            lifeboat_event = $crate::telemetry::Event::$name.name(),
            message_id = $crate::telemetry::Event::$name.message_id(),
            $($rest)+
        )
    };
}
