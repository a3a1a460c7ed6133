//! snapshot: filled in soon.
