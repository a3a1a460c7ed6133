//! What the hosts live through, one file per subject.

mod harness_cluster;
mod harness_end;
mod harness_power;
mod harness_product;
mod harness_store;
