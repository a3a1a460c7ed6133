//! catalog: filled in soon.
