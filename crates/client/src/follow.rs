//! Streams that go on where they were when the connection breaks.

use std::time::Duration;

use nonna_engine::error::Fault;
use nonna_engine::{Code, Error, Result};
use reqwest::{RequestBuilder, Response, header};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::http::Client;
use crate::sse::Parser;
use crate::transport;

/// After so long without a byte (the server sends comments more often), the
/// connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
/// For so long a broken stream is taken up again.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first wait before connecting again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait before connecting again.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a stream yields.
#[derive(Debug)]
pub enum Item<T> {
    /// The next value.
    Value(T),
    /// The connection broke, for this reason, and is being made again. Told
    /// once for each break.
    Lost(Error),
    /// The connection is there again.
    Back,
}

/// When a stream is over.
pub(crate) enum End<T> {
    /// Where the server ends it.
    WithConnection,
    /// After the value for which this holds.
    After(fn(&T) -> bool),
    /// Never: more can always come.
    Never,
}

/// Makes the request, for going on after the last value where that one had no
/// id.
type Request<T> = Box<dyn Fn(&Client, Option<&T>) -> RequestBuilder + Send + Sync>;

/// A stream of values from the server. Connects on the first
/// [`Follow::next`].
pub struct Follow<T> {
    client: Client,
    request: Request<T>,
    end: End<T>,
    /// The last value, where the stream's values have no ids.
    last: Option<T>,
    connection: Option<Response>,
    parser: Parser,
    last_id: Option<String>,
    began: bool,
    done: bool,
    broken_since: Option<Instant>,
    wait: Duration,
    not_before: Option<Instant>,
    told: bool,
}

impl<T: DeserializeOwned + Clone> Follow<T> {
    pub(crate) fn new(
        client: Client,
        end: End<T>,
        request: impl Fn(&Client, Option<&T>) -> RequestBuilder + Send + Sync + 'static,
    ) -> Self {
        Self {
            client,
            request: Box::new(request),
            end,
            last: None,
            connection: None,
            parser: Parser::default(),
            last_id: None,
            began: false,
            done: false,
            broken_since: None,
            wait: FIRST_WAIT,
            not_before: None,
            told: false,
        }
    }

    /// The next item; `None` when the stream is over. May be dropped and
    /// called again: nothing is lost.
    ///
    /// # Errors
    /// What the server answers, or that it stays away for two minutes.
    pub async fn next(&mut self) -> Result<Option<Item<T>>> {
        loop {
            if self.done {
                return Ok(None);
            }
            if let Some(message) = self.parser.next() {
                let has_id = message.id.is_some();
                if has_id {
                    self.last_id = message.id;
                }
                if message.event == "error" {
                    self.done = true;
                    return Err(
                        serde_json::from_str::<nonna_api::Failure>(&message.data).map_or_else(
                            |_| Error::bug("The server ended the stream with an unreadable error."),
                            |failure| failure.error,
                        ),
                    );
                }
                let value: T = serde_json::from_str(&message.data).map_err(|error| {
                    Error::bug("The server sent an event that this version cannot read.")
                        .hint("Client and server may be of different versions: see `nonna version`.")
                        .said(error.to_string())
                })?;
                if let End::After(is_last) = self.end {
                    self.done = is_last(&value);
                }
                if !has_id {
                    self.last = Some(value.clone());
                }
                return Ok(Some(Item::Value(value)));
            }
            match &mut self.connection {
                None => {
                    if let Some(item) = self.connect().await? {
                        return Ok(Some(item));
                    }
                }
                Some(response) => {
                    let why = match tokio::time::timeout(SILENCE, response.chunk()).await {
                        Ok(Ok(Some(bytes))) => {
                            self.parser.push(&bytes)?;
                            continue;
                        }
                        Ok(Ok(None)) if matches!(self.end, End::WithConnection) => {
                            self.done = true;
                            return Ok(None);
                        }
                        Ok(Ok(None)) => {
                            Error::provider(Code::ServerUnavailable, "The server ended the connection.")
                                .retry()
                        }
                        Ok(Err(error)) => transport::failure(self.client.url(), error),
                        Err(_) => Error::provider(
                            Code::Timeout,
                            format!("Nothing was heard from {} for a minute.", self.client.url()),
                        )
                        .retry(),
                    };
                    self.connection = None;
                    self.parser = Parser::default();
                    if let Some(item) = self.lost(why)? {
                        return Ok(Some(item));
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<Item<T>>> {
        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at).await;
        }
        let mut request =
            (self.request)(&self.client, self.last.as_ref()).header(header::ACCEPT, "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("Last-Event-ID", id);
        }
        match self.client.send_once(request).await {
            Ok(response) => {
                self.connection = Some(response);
                let back = self.told;
                self.began = true;
                self.told = false;
                self.broken_since = None;
                self.not_before = None;
                self.wait = FIRST_WAIT;
                Ok(back.then_some(Item::Back))
            }
            Err(error) if self.began && error.fault == Fault::Provider => self.lost(error),
            Err(error) => Err(error),
        }
    }

    /// Takes note of a break; gives up when it has lasted too long.
    fn lost(&mut self, why: Error) -> Result<Option<Item<T>>> {
        let now = Instant::now();
        let since = *self.broken_since.get_or_insert(now);
        if now.duration_since(since) > PATIENCE {
            return Err(why);
        }
        self.not_before = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        if std::mem::replace(&mut self.told, true) {
            Ok(None)
        } else {
            Ok(Some(Item::Lost(why)))
        }
    }
}
