//! What the hosts live through, one file per subject.

mod harness;
