//! bolt: filled in soon.
