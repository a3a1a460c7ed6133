//! telemetry: filled in soon.
