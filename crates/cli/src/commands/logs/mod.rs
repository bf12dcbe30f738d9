//! The log proxy on its own.

mod proxy;

pub(crate) use proxy::proxy;
