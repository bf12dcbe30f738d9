//! What replicas printed: read from the engine, joined to whole lines, merged
//! by time.

mod follow;
mod merge;
mod source;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use nonna_engine::Result;
use nonna_engine::ports::runtime::{LogLine, LogQuery, OutputLine};
use nonna_model::ServiceId;

use crate::client::Client;
use crate::observe::{self, Replica};

use follow::Follow;
use source::Window;

/// A line, and when it was printed to the nanosecond: as exactly as the engine
/// knows, so that a stream that was cut can go on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamped {
    nanos: i128,
    line: LogLine,
}

/// What one container prints behind this moment, until it ends.
pub(crate) fn output(
    client: &Client,
    container: &str,
    after: Option<i64>,
) -> BoxStream<'static, Result<OutputLine>> {
    source::output(client, container, after)
}

pub(crate) async fn read(
    client: &Client,
    service: &ServiceId,
    query: &LogQuery,
) -> Result<BoxStream<'static, Result<LogLine>>> {
    let replicas = matching(client, service, query).await?;
    let history = replicas.iter().map(|replica| {
        let window = Window {
            since: query.since,
            until: query.until,
            tail: query.tail,
        };
        source::history(client, replica, &window)
    });
    let history = merge::by_time(history.collect());
    if !query.follow {
        return Ok(history.map(|line| line.map(|stamped| stamped.line)).boxed());
    }
    let follow = Follow::new(client.clone(), service.clone(), query.clone(), &replicas, history);
    Ok(stream::unfold(follow, |mut follow| async move {
        let line = follow.next().await?;
        Some((line, follow))
    })
    .boxed())
}

/// The replicas that a query is about.
async fn matching(client: &Client, service: &ServiceId, query: &LogQuery) -> Result<Vec<Replica>> {
    let mut found = observe::replicas_of(client, service).await?;
    found.retain(|replica| {
        query
            .release
            .is_none_or(|release| release == replica.identity.release)
            && query.index.is_none_or(|index| index == replica.identity.index)
    });
    Ok(found)
}
