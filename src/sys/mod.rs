//! Thin effects on the machine: files, clock, randomness, children, systemd. No decision is made here.

pub mod background;
pub mod clock;
pub mod exec;
pub mod failpoint;
pub mod fs;
pub mod label;
pub mod notify;
pub mod pace;
pub mod random;
