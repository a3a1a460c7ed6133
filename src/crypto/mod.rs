//! crypto: filled in soon.
