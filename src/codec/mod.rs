//! codec: filled in soon.
