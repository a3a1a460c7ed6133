//! cli: filled in soon.
