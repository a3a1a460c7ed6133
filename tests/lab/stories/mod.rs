//! What the hosts live through, one file per subject.

mod faults;
mod gate;
mod harness_cluster;
mod harness_end;
mod harness_power;
mod harness_product;
mod harness_store;
mod install;
mod kubeadm;
mod once;
mod packages;
mod places;
mod power;
mod readme;
mod rotation;
mod several;
mod site;
mod three;
mod weights;
