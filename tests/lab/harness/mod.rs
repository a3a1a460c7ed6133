//! What a story is made of: a [`Lab`] with its network, [`Host`]s and an [`S3`] server.
//!
//! A lab lives in a mount namespace of its own: its mounts and its network namespaces are seen by nobody else and go
//! with it. Each host runs below a process that takes the whole host with it when the test process dies, however it
//! dies. What is left on disk and in the cgroups by a run that was killed is removed when the next one starts.

mod cgroup;
mod clock_proxy;
mod enter;
mod etcd;
mod evidence;
mod files;
mod host;
mod lab;
mod leftovers;
mod machine;
mod net;
mod power;
mod product;
mod rootfs;
mod s3;
mod s3_client;
mod spawner;
#[path = "../../support/tls.rs"]
mod tls;
#[path = "../../support/tools.rs"]
mod tools;
mod units;
mod volume;
mod wait;

pub use clock_proxy::ClockProxy;
pub use enter::Output;
pub use etcd::Etcd;
pub use host::{Host, wait_for_port};
pub use lab::Lab;
pub use leftovers::traces;
pub use net::Block;
pub use power::Boot;
pub use product::HostConfig;
pub use rootfs::Suite;
pub use s3::{Keys, S3};
pub use s3_client::Object;
pub use tls::TestCa;
pub use units::UnitState;
pub use volume::Volume;
pub use wait::wait_for;
