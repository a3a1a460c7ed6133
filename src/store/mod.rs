//! store: filled in soon.
