//! The pure core: values in, values with reasons out.
//!
//! Nothing in here does I/O, reads a clock, draws a random number or imports another part of the crate. That is what
//! makes every decision testable in a table and a dry run equal to the real run.

pub mod adopt;
pub mod decide;
pub mod facts;
pub mod health;
pub mod manifest;
pub mod model;
pub mod peer_url;
pub mod plan;
pub mod record;
pub mod schedule;
pub mod seed;
pub mod select;
pub mod steps;
pub mod voters;
