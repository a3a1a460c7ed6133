//! Named points at which a test kills, stops or fails the process. Without the cargo feature `failpoints` they compile to nothing.
//!
//! `FAILPOINTS="ship.after_payload=return(kill)"`: `kill` is SIGKILL to ourselves (what a power cut looks like to the
//! process), `stop` is SIGSTOP, `error` makes the step fail with an I/O error.

/// Marks a named step: `failpoint!("ship.after_payload")?` style is not needed; an `error` action returns from the
/// enclosing function, which must return a `Result` whose error is `From<std::io::Error>` or `crate::error::Error`.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::sys::failpoint::hit($name)?;
    };
}

/// Reads `FAILPOINTS` from the environment. Call once at start.
#[cfg(feature = "failpoints")]
pub fn arm() {
    let scenario = fail::FailScenario::setup();
    // Dropping it would disarm the points.
    std::mem::forget(scenario);
}

/// Does what the test asked for at this point.
///
/// # Errors
/// When the action is `error`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) -> crate::error::Result<()> {
    use nix::sys::signal::{Signal, raise};
    let Some(action) = fail::eval(name, |arg| arg.unwrap_or_default()) else { return Ok(()) };
    match action.as_str() {
        "kill" => drop(raise(Signal::SIGKILL)),
        "stop" => drop(raise(Signal::SIGSTOP)),
        _ => {
            return Err(crate::error::Error::new(crate::error::Kind::Io, format!("failpoint {name}")));
        }
    }
    Ok(())
}
