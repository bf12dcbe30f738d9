//! New lines as they come, of replicas that appear later too.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use nonna_engine::ports::runtime::{LogLine, LogQuery, RuntimeEvent};
use nonna_engine::{Code, Result};
use nonna_model::ServiceId;
use tokio::time::sleep;

use super::{Stamped, matching, source};
use crate::client::Client;
use crate::observe::{self, Replica};
use crate::watch;

/// Where no event tells of a new replica, it is found in this time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

enum Item {
    Line(String, Result<Stamped>),
    /// This container's log has ended.
    End(String),
}

pub(super) struct Follow {
    client: Client,
    service: ServiceId,
    query: LogQuery,
    history: Option<BoxStream<'static, Result<Stamped>>>,
    /// By replica: which container it was.
    containers: HashMap<(u32, u32), String>,
    /// By container: the time of its last line.
    last: HashMap<String, i128>,
    /// The containers that are read.
    active: HashSet<String>,
    live: SelectAll<BoxStream<'static, Item>>,
    events: BoxStream<'static, RuntimeEvent>,
}

impl Follow {
    pub(super) fn new(
        client: Client,
        service: ServiceId,
        query: LogQuery,
        replicas: &[Replica],
        history: BoxStream<'static, Result<Stamped>>,
    ) -> Self {
        // Behind what the history gives; with a tail, nothing older than now.
        let begin = match (query.tail, query.since) {
            (Some(_), _) => jiff::Timestamp::now().as_nanosecond(),
            (None, Some(since)) => i128::from(since) * 1_000_000 - 1,
            (None, None) => i128::from(i64::MIN),
        };
        let last = replicas.iter().map(|r| (r.id.clone(), begin)).collect();
        let key = |r: &Replica| (r.identity.release.0, r.identity.index);
        Self {
            events: watch::events(&client),
            containers: replicas.iter().map(|r| (key(r), r.id.clone())).collect(),
            last,
            active: HashSet::new(),
            live: SelectAll::new(),
            history: Some(history),
            client,
            service,
            query,
        }
    }

    /// The next line; `None` at the end of the window.
    pub(super) async fn next(&mut self) -> Option<Result<LogLine>> {
        if let Some(history) = &mut self.history {
            if let Some(line) = history.next().await {
                return Some(line.map(|stamped| self.note_old(stamped)));
            }
            self.history = None;
            // With a tail, what is older than it must not come a second time.
            if let Err(e) = self.look(true).await {
                return Some(Err(e));
            }
        }
        loop {
            tokio::select! {
                Some(item) = self.live.next() => match item {
                    Item::End(container) => { self.active.remove(&container); }
                    Item::Line(container, Ok(stamped)) => {
                        self.last.insert(container, stamped.nanos);
                        if self.query.until.is_some_and(|until| stamped.line.at > until) {
                            return None;
                        }
                        return Some(Ok(stamped.line));
                    }
                    // The engine is being restarted: go on when it is back.
                    Item::Line(_, Err(e)) if e.code == Code::RuntimeUnavailable => {}
                    Item::Line(_, Err(e)) => return Some(Err(e)),
                },
                _ = self.events.next() => {
                    if let Err(e) = self.look(false).await { return Some(Err(e)); }
                }
                () = sleep(LOOK_EVERY) => {
                    if let Err(e) = self.look(false).await { return Some(Err(e)); }
                }
            }
        }
    }

    fn note_old(&mut self, stamped: Stamped) -> LogLine {
        let key = (stamped.line.release.0, stamped.line.index);
        if let Some(container) = self.containers.get(&key) {
            self.last.insert(container.clone(), stamped.nanos);
        }
        stamped.line
    }

    /// Reads on wherever nothing is being read.
    async fn look(&mut self, first: bool) -> Result<()> {
        for replica in matching(&self.client, &self.service, &self.query).await? {
            if self.active.contains(&replica.id) {
                continue;
            }
            let known = self.last.get(&replica.id).copied();
            // One that has ended has no more to say until it is started again.
            if known.is_some() && !first && !runs(&self.client, &replica).await? {
                continue;
            }
            let after = known.unwrap_or(i128::from(i64::MIN));
            let id = replica.id.clone();
            let lines =
                source::after(&self.client, &replica, after).map(move |line| Item::Line(id.clone(), line));
            let end = stream::once(std::future::ready(Item::End(replica.id.clone())));
            self.live.push(lines.chain(end).boxed());
            self.last.insert(replica.id.clone(), after);
            self.active.insert(replica.id);
        }
        Ok(())
    }
}

async fn runs(client: &Client, replica: &Replica) -> Result<bool> {
    let seen = observe::inspect(client, &replica.id).await?;
    Ok(seen.is_some_and(|seen| observe::state(&seen).is_running()))
}
