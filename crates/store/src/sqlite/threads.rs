//! The threads that talk to SQLite: one that writes, two that read.
//!
//! SQLite's calls block, so they have threads of their own. The writer takes
//! all that waits for it into one transaction, each job within a savepoint: a
//! job that fails takes only itself back, and one sync of the disk serves all
//! of them. Answers are given after the commit.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nonna_engine::{Error, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fail::{Inner, explain};
use super::open;
use crate::folder::io_error;

/// How many callers may wait for a thread before others wait to be let in.
const QUEUE: usize = 256;
/// How many jobs share one commit at most.
const GROUP: usize = 128;
const READERS: usize = 2;
const STACK_BYTES: usize = 512 * 1024;

/// Something to be done by the writer.
trait Job: Send {
    /// Does it.
    fn run(&mut self, connection: &Connection) -> Result<()>;
    /// Whether it must have a transaction for itself.
    fn alone(&self) -> bool;
    /// Answers the caller, after the commit.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Task<T, F, C> {
    work: Option<F>,
    result: Option<Result<T>>,
    /// Called by the writer between the commit and its next transaction.
    committed: Option<C>,
    caller: oneshot::Sender<Result<T>>,
}

impl<T, F, C> Job for Task<T, F, C>
where
    T: Send,
    F: FnOnce(&Connection) -> Inner<T> + Send,
    C: FnOnce() + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<()> {
        let work = self.work.take().ok_or_else(stopped)?;
        let result = work(connection).map_err(Error::from);
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn alone(&self) -> bool {
        self.committed.is_some()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => {
                if let Some(committed) = self.committed {
                    committed();
                }
                Ok(value)
            }
            (None, Ok(())) => Err(stopped()),
        };
        // A caller that no longer waits has no use for the answer.
        let _ = self.caller.send(result);
    }
}

type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the threads. Dropping it waits until what was begun is done.
pub(crate) struct Threads {
    writer: Option<mpsc::Sender<Box<dyn Job>>>,
    readers: Option<mpsc::Sender<ReadJob>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn start(writer: Connection, path: &Path) -> Result<Self> {
        let (write, jobs) = mpsc::channel(QUEUE);
        let (read, reads) = mpsc::channel::<ReadJob>(QUEUE);
        let reads = Arc::new(Mutex::new(reads));
        // Readers before the writer: the last to close tidies the files up,
        // and only the writer may.
        let mut handles = Vec::new();
        for _ in 0..READERS {
            let connection = open::reader(path)?;
            let reads = Arc::clone(&reads);
            handles.push(spawn("store-read", path, move || read_all(connection, &reads))?);
        }
        handles.push(spawn("store-write", path, move || write_all(&writer, jobs))?);
        Ok(Self {
            writer: Some(write),
            readers: Some(read),
            handles,
        })
    }

    /// Writes: `work` runs in a transaction that is on disk when this returns.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Inner<T> + Send + 'static,
    {
        self.send(work, None::<fn()>).await
    }

    /// Writes in a transaction of its own and calls `committed` before
    /// anything else is written.
    pub(crate) async fn write_alone<T, F, C>(&self, work: F, committed: C) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Inner<T> + Send + 'static,
        C: FnOnce() + Send + 'static,
    {
        self.send(work, Some(committed)).await
    }

    async fn send<T, F, C>(&self, work: F, committed: Option<C>) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Inner<T> + Send + 'static,
        C: FnOnce() + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Task {
            work: Some(work),
            result: None,
            committed,
            caller,
        });
        let writer = self.writer.as_ref().ok_or_else(stopped)?;
        writer.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Reads: all that `work` reads is of one moment.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Inner<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            let result = connection
                .transaction()
                .map_err(|error| explain(&error))
                .and_then(|transaction| work(&transaction).map_err(Error::from));
            let _ = caller.send(result);
        });
        let readers = self.readers.as_ref().ok_or_else(stopped)?;
        readers.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.writer = None;
        self.readers = None;
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

fn spawn(name: &str, path: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map_err(|error| io_error(&error, "start a thread for", path))
}

fn stopped() -> Error {
    Error::bug("The store's thread has ended.")
}

fn read_all(mut connection: Connection, jobs: &Mutex<mpsc::Receiver<ReadJob>>) {
    loop {
        let job = jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        match job {
            Some(job) => job(&mut connection),
            None => return,
        }
    }
}

fn write_all(connection: &Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut next = jobs.blocking_recv();
    while let Some(first) = next.take() {
        let mut group = vec![first];
        if !group[0].alone() {
            while group.len() < GROUP {
                match jobs.try_recv() {
                    Ok(job) if job.alone() => {
                        next = Some(job);
                        break;
                    }
                    Ok(job) => group.push(job),
                    Err(_) => break,
                }
            }
        }
        let committed = write_group(connection, &mut group);
        for job in group {
            job.answer(committed.clone());
        }
        if next.is_none() {
            next = jobs.blocking_recv();
        }
    }
}

/// Runs jobs in one transaction. Where it fails as a whole, none of them
/// happened.
fn write_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<()> {
    let result = try_write_group(connection, group);
    if result.is_err() && !connection.is_autocommit() {
        // Nothing is lost by a rollback that fails: the transaction is not
        // committed either way, and the next BEGIN says what is wrong.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

fn try_write_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<()> {
    let run = |sql: &str| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .map_err(|error| explain(&error))
    };
    run("BEGIN IMMEDIATE")?;
    for job in group.iter_mut() {
        run("SAVEPOINT job")?;
        if let Err(error) = job.run(connection) {
            if connection.is_autocommit() {
                // The failure was so grave (a full disk) that SQLite took the
                // whole transaction back, with the jobs before this one.
                return Err(error);
            }
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")?;
    }
    run("COMMIT")
}
