//! The cluster token and the HMAC of records. The token's text leaves this module never.

mod token;

pub use token::{Keyring, Token};
