//! Whole stories with real etcd, a real S3 server and the built binary: what a user does, from the first snapshot to the
//! lost host that comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(missing_docs, unreachable_pub, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests run children, read clocks and clear their own directories")]

#[path = "stories/agent.rs"]
mod agent;
#[path = "stories/by_hand.rs"]
mod by_hand;
#[path = "stories/classes.rs"]
mod classes;
#[path = "stories/faulty_ships.rs"]
mod faulty_ships;
#[path = "stories/host.rs"]
mod host;
#[path = "stories/k3s.rs"]
mod k3s;
#[path = "stories/lives.rs"]
mod lives;
#[path = "stories/once.rs"]
mod once;
#[path = "stories/round_trip.rs"]
mod round_trip;
#[path = "stories/shapes.rs"]
mod shapes;
#[path = "stories/stop.rs"]
mod stop;
mod support;
