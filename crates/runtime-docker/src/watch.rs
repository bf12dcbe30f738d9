//! What happens by itself, as the engine tells it.

use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use nonna_engine::ports::runtime::RuntimeEvent;
use nonna_model::labels as l;
use tokio::time::sleep;

use crate::client::Client;
use crate::labels;

/// The pause before the stream is opened again: the first and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// What changes what an observation would find. (`exec_…` and the like do not.)
const ACTIONS: [&str; 10] = [
    "start", "die", "died", "stop", "destroy", "remove", "restart", "pause", "unpause", "oom",
];

type Events = BoxStream<'static, Result<EventMessage, bollard::errors::Error>>;

enum State {
    /// The stream is to be opened after a pause. Whether it was open before.
    Closed { pause: Duration, before: bool },
    /// It is open.
    Open(Events),
}

pub(crate) fn events(client: &Client) -> BoxStream<'static, RuntimeEvent> {
    let client = client.clone();
    let state = State::Closed {
        pause: Duration::ZERO,
        before: false,
    };
    stream::unfold((client, state), |(client, mut state)| async move {
        loop {
            match state {
                State::Closed { pause, before } => {
                    sleep(pause).await;
                    // Only an engine that answers tells anything: opening the
                    // stream itself gives no sign until the first event.
                    if client.docker.ping().await.is_err() {
                        let pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_LONGEST);
                        state = State::Closed { pause, before: true };
                        continue;
                    }
                    state = State::Open(open(&client).boxed());
                    if before {
                        return Some((RuntimeEvent::Resumed, (client, state)));
                    }
                }
                State::Open(mut events) => match events.next().await {
                    Some(Ok(message)) => {
                        state = State::Open(events);
                        if let Some(event) = changed(&message) {
                            return Some((event, (client, state)));
                        }
                    }
                    Some(Err(_)) | None => {
                        let pause = PAUSE_FIRST;
                        state = State::Closed { pause, before: true };
                    }
                },
            }
        }
    })
    .boxed()
}

fn open(client: &Client) -> impl Stream<Item = Result<EventMessage, bollard::errors::Error>> + use<> {
    let mut filters = labels::filter([(l::INSTALLATION, client.installation.as_str())]);
    filters.insert("type".into(), vec!["container".into()]);
    let options = EventsOptions {
        filters: Some(filters),
        ..EventsOptions::default()
    };
    client.docker.events(Some(options))
}

fn changed(message: &EventMessage) -> Option<RuntimeEvent> {
    let action = message.action.as_deref()?;
    if !ACTIONS.contains(&action) {
        return None;
    }
    let attributes = message.actor.as_ref()?.attributes.as_ref()?;
    let environment = attributes.get(l::ENVIRONMENT)?.parse().ok()?;
    Some(RuntimeEvent::Changed { environment })
}
