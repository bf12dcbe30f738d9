//! From a request to its answer.

mod body;
pub(crate) mod forwarded;
mod handle;
pub(crate) mod head;
pub(crate) mod pages;
mod ticket;

pub(crate) use body::{EdgeBody, Source};
pub(crate) use handle::handle;
pub(crate) use ticket::Ticket;
