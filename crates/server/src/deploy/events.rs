//! Events on their way: kept in the store, then passed on to whoever listens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nonna_engine::event::{Event, EventKind, EventSink};
use nonna_model::DeploymentId;
use nonna_store::Store;
use nonna_store::records::StoredEvent;
use tokio::sync::{broadcast, mpsc, oneshot};

/// How many events a slow listener may lag behind before it reads them from
/// the store instead.
const LAG: usize = 256;
/// How many events go to the store at once.
const BATCH: usize = 256;

enum Message {
    Event(Event),
    Flush(oneshot::Sender<()>),
}

type Listeners = Arc<Mutex<HashMap<DeploymentId, broadcast::Sender<StoredEvent>>>>;

/// Where every deployment's events go.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::UnboundedSender<Message>,
    listeners: Listeners,
}

impl EventSink for Events {
    fn emit(&self, event: Event) {
        // Nobody reads only while the process ends.
        let _ = self.queue.send(Message::Event(event));
    }
}

impl Events {
    /// Begins to write events down.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        let listeners = Listeners::default();
        tokio::spawn(write(store, receiver, Arc::clone(&listeners)));
        Self { queue, listeners }
    }

    /// Emits one event now.
    pub(super) fn now(&self, deployment: &DeploymentId, kind: EventKind) {
        self.emit(Event {
            deployment: deployment.clone(),
            at: jiff::Timestamp::now().as_millisecond(),
            kind,
        });
    }

    /// Waits until everything emitted so far is kept.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// The deployment's events from now on.
    pub(crate) fn listen(&self, deployment: &DeploymentId) -> broadcast::Receiver<StoredEvent> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever went away leaves nothing behind.
        listeners.retain(|_, sender| sender.receiver_count() > 0);
        listeners
            .entry(deployment.clone())
            .or_insert_with(|| broadcast::channel(LAG).0)
            .subscribe()
    }
}

async fn write(store: Arc<dyn Store>, mut queue: mpsc::UnboundedReceiver<Message>, listeners: Listeners) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut events = Vec::new();
        let mut flushed = Vec::new();
        for message in batch.drain(..) {
            match message {
                Message::Event(event) => events.push(event),
                Message::Flush(done) => flushed.push(done),
            }
        }
        if !events.is_empty() {
            keep(store.as_ref(), events, &listeners).await;
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

async fn keep(store: &dyn Store, events: Vec<Event>, listeners: &Listeners) {
    let numbers = match store.append_events(events.clone()).await {
        Ok(numbers) => numbers,
        Err(error) => {
            tracing::error!(%error, lost = events.len(), "events could not be kept");
            return;
        }
    };
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    for (sequence, event) in numbers.into_iter().zip(events) {
        let deployment = event.deployment.clone();
        let is_last = matches!(event.kind, EventKind::Finished { .. });
        if let Some(sender) = listeners.get(&deployment) {
            let heard = sender.send(StoredEvent { sequence, event }).is_ok();
            if is_last || !heard {
                listeners.remove(&deployment);
            }
        }
    }
}
