//! agent: filled in soon.
