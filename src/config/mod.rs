//! config: filled in soon.
