//! Several streams, each in the order of time, as one.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream};
use nonna_engine::Result;

use super::Stamped;

type Lines = BoxStream<'static, Result<Stamped>>;

/// Merges; an error is passed on at once.
pub(super) fn by_time(sources: Vec<Lines>) -> Lines {
    let start = (sources, Vec::<(Option<Result<Stamped>>, Lines)>::new());
    stream::unfold(start, |(fresh, mut heads)| async move {
        // At first every stream's first line is read, all at the same time.
        heads.extend(
            join_all(fresh.into_iter().map(|mut source| async move {
                let head = source.next().await;
                (head, source)
            }))
            .await,
        );
        heads.retain(|(head, _)| head.is_some());
        let at = |head: &Option<Result<Stamped>>| match head {
            Some(Ok(line)) => line.nanos,
            _ => i128::MIN,
        };
        let (_, (head, source)) = heads
            .iter_mut()
            .enumerate()
            .min_by_key(|(index, (head, _))| (at(head), *index))?;
        let line = head.take()?;
        *head = source.next().await;
        Some((line, (Vec::new(), heads)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nonna_engine::ports::runtime::LogLine;
    use nonna_model::ReleaseNumber;

    fn source(index: u32, times: &[i128]) -> Lines {
        let lines: Vec<_> = times
            .iter()
            .map(|nanos| {
                Ok(Stamped {
                    nanos: *nanos,
                    line: LogLine {
                        at: 0,
                        release: ReleaseNumber(1),
                        index,
                        stderr: false,
                        line: String::new(),
                    },
                })
            })
            .collect();
        stream::iter(lines).boxed()
    }

    #[tokio::test]
    async fn lines_come_in_the_order_of_time_and_none_is_lost() {
        let merged = by_time(vec![
            source(0, &[1, 4, 4, 9]),
            source(1, &[]),
            source(2, &[2, 3, 10]),
        ]);
        let times: Vec<_> = merged.map(|line| line.unwrap().nanos).collect().await;
        assert_eq!(times, [1, 2, 3, 4, 4, 9, 10]);
    }
}
