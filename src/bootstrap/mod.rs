//! bootstrap: filled in soon.
