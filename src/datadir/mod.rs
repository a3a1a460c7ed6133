//! datadir: filled in soon.
