//! A deployment's events, from the store and then as they happen, none twice
//! and none left out.

use futures_util::stream::{self, Stream};
use nonna_engine::event::{Event, EventKind};
use nonna_engine::{Error, Result};
use nonna_model::DeploymentId;
use nonna_store::records::StoredEvent;
use tokio::sync::broadcast;

use super::manager::Deployments;

/// How many events are read from the store at once.
const BATCH: u32 = 200;

struct Reading {
    deployments: Deployments,
    id: DeploymentId,
    live: Option<broadcast::Receiver<StoredEvent>>,
    after: u64,
    stored: std::vec::IntoIter<StoredEvent>,
    /// The store may have more than was read.
    catch_up: bool,
    over: bool,
}

impl Deployments {
    /// The deployment's events with numbers greater than `after`. The stream
    /// ends after `finished`, or after an error. From this call on nothing is
    /// missed.
    pub(crate) fn follow(
        &self,
        id: &DeploymentId,
        after: u64,
    ) -> impl Stream<Item = Result<StoredEvent>> + Send + 'static + use<> {
        let reading = Reading {
            deployments: self.clone(),
            id: id.clone(),
            live: Some(self.events().listen(id)),
            after,
            stored: Vec::new().into_iter(),
            catch_up: true,
            over: false,
        };
        stream::unfold(reading, Reading::step)
    }
}

impl Reading {
    async fn step(mut self) -> Option<(Result<StoredEvent>, Self)> {
        if self.over {
            return None;
        }
        match self.next().await {
            Ok(Some(event)) => {
                self.after = event.sequence;
                self.over = matches!(event.event.kind, EventKind::Finished { .. });
                Some((Ok(event), self))
            }
            Ok(None) => None,
            Err(error) => {
                self.over = true;
                Some((Err(error), self))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<StoredEvent>, Error> {
        loop {
            if let Some(event) = self.stored.next() {
                return Ok(Some(event));
            }
            if self.catch_up {
                let events = self.read().await?;
                self.catch_up = !events.is_empty();
                self.stored = events.into_iter();
                if self.catch_up {
                    continue;
                }
                // All that is kept was told. Where it is over, so is this.
                if let Some(last) = self.last_word().await? {
                    // What is on its way to the store comes before the end.
                    self.deployments.events().flush().await;
                    let events = self.read().await?;
                    if events.is_empty() {
                        return Ok(Some(last));
                    }
                    self.stored = events.into_iter();
                    self.catch_up = true;
                    continue;
                }
            }
            let Some(live) = self.live.as_mut() else {
                return Ok(None);
            };
            match live.recv().await {
                Ok(event) if event.sequence <= self.after => {}
                Ok(event) if event.sequence == self.after + 1 => return Ok(Some(event)),
                // Some were missed: they are in the store.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.catch_up = true,
                Err(broadcast::error::RecvError::Closed) => {
                    self.live = None;
                    self.catch_up = true;
                }
            }
        }
    }

    async fn read(&self) -> Result<Vec<StoredEvent>, Error> {
        if self.deployments.empty_one(&self.id).is_some() {
            return Ok(Vec::new());
        }
        self.deployments
            .parts
            .store
            .events_after(&self.id, self.after, BATCH)
            .await
    }

    /// The end of a deployment that is over, where its event is not kept: it
    /// had nothing to do, or the process died in between, or long ago.
    async fn last_word(&self) -> Result<Option<StoredEvent>, Error> {
        let deployment = match self.deployments.empty_one(&self.id) {
            Some(empty) => Some(empty),
            None => self.deployments.parts.store.deployment(&self.id).await?,
        };
        Ok(deployment.and_then(|d| {
            Some(StoredEvent {
                sequence: self.after + 1,
                event: Event {
                    deployment: d.id,
                    at: d.finished_at?,
                    kind: EventKind::Finished { outcome: d.outcome? },
                },
            })
        }))
    }
}
