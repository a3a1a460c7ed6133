//! How etcd is going to be started on this host, as far as a rule needs it: asked of whoever knows units and manifests.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::core::facts::{Observed, StartFlags};

/// Tells the flags that etcd will see. Reads only, and has a limit of its own.
pub type StartSource = Arc<dyn Fn() -> BoxFuture<'static, Observed<StartFlags>> + Send + Sync>;
