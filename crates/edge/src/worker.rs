//! One thread of the edge, with everything that it alone uses.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use http::request::Parts;
use tokio::sync::{Notify, watch};

use crate::config::{Limits, Network, Timeouts};
use crate::conn::watch::{TICK, ticks};
use crate::conn::{Deadlines, Watch, accept};
use crate::observe::metrics::ServiceMetrics;
use crate::observe::{AccessRecord, AccessSink};
use crate::route::Table;
use crate::tls::Tls;
use crate::upstream::h1::Pool;
use crate::upstream::h2::Links;

/// The most access records that wait on a worker.
const BATCH: usize = 128;
/// The size of the buffer that all of a worker's reads from replicas go
/// through.
const SCRATCH: usize = 64 * 1024;
/// How many request buffers are kept, and up to which size.
const SPARE: usize = 64;
const SPARE_SIZE: usize = 4 * 1024;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) unrouted: ServiceMetrics,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) redirect_https: bool,
    pub(crate) https_port: Option<u16>,
    pub(crate) trusted: Vec<Network>,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) connections: AtomicU64,
    pub(crate) epoch: Instant,
    /// Replicas that any service has: others' connections are closed.
    pub(crate) wanted: ArcSwap<std::collections::HashSet<u64>>,
    /// The routes are known: connections may be accepted.
    pub(crate) open: watch::Sender<bool>,
    /// The edge is ending: nothing new is accepted.
    pub(crate) ending: watch::Sender<bool>,
    /// The deadline for what is in flight passed.
    pub(crate) abort: watch::Sender<bool>,
    pub(crate) workers: usize,
}

impl Shared {
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// What answers an HTTP-01 challenge.
    pub(crate) async fn challenge(&self, token: &str) -> Option<String> {
        self.tls.as_ref()?.challenges.http(token).await
    }

    /// Where a plain request is redirected to: nowhere, unless the host has a
    /// certificate that people's browsers would accept.
    pub(crate) fn https_url(&self, host: &str, parts: &Parts) -> Option<String> {
        let port = self.https_port?;
        if host == "localhost" || host.ends_with(".localhost") || host.is_empty() {
            return None;
        }
        if !self.tls.as_ref()?.certificates.has(host) {
            return None;
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        Some(if port == 443 {
            format!("https://{host}{path}")
        } else {
            format!("https://{host}:{port}{path}")
        })
    }
}

/// One thread of the edge.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) deadlines: Deadlines,
    pub(crate) pool: Pool,
    pub(crate) h2_links: Links,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) http1: hyper::server::conn::http1::Builder,
    /// Room for another connection.
    pub(crate) room: Notify,
    buffers: RefCell<Vec<Vec<u8>>>,
    records: RefCell<Vec<AccessRecord>>,
    connections: Cell<usize>,
    most_connections: usize,
    turn: Cell<usize>,
    random: Cell<u64>,
    salt: u64,
    wall: Cell<(Instant, i64)>,
    ending: Cell<bool>,
    aborting: Cell<bool>,
    busy: Notify,
}

/// A listener of one worker.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: bool,
    /// The port that clients know it by.
    pub(crate) port: u16,
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, seed: [u64; 2]) -> Self {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .header_read_timeout(None)
            .max_header_size(shared.limits.header_bytes);
        if shared.limits.header_count != 100 {
            // Any other number than the library's own costs an allocation.
            http1.max_headers(shared.limits.header_count);
        }
        Self {
            index,
            deadlines: Deadlines::new(shared.epoch),
            pool: Pool::default(),
            h2_links: Links::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            http1,
            room: Notify::new(),
            buffers: RefCell::default(),
            records: RefCell::default(),
            connections: Cell::new(0),
            most_connections: shared.limits.connections.div_ceil(shared.workers),
            turn: Cell::new(index),
            random: Cell::new(seed[0] | 1),
            salt: seed[1],
            wall: Cell::new((Instant::now(), now_ms())),
            ending: Cell::new(false),
            aborting: Cell::new(false),
            busy: Notify::new(),
            shared,
        }
    }

    /// The routes as they are now.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.shared.table.load()
    }

    pub(crate) fn watch(&self, watch: &Rc<Watch>) {
        self.deadlines.add(watch);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.connections.get() >= self.most_connections
    }

    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.shared.ending.subscribe()
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    pub(crate) fn aborting(&self) -> bool {
        self.aborting.get()
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        let connections = self.connections.get();
        if connections == 0 {
            // Nobody kept the clock meanwhile.
            self.deadlines.update();
            self.busy.notify_one();
        }
        self.connections.set(connections + 1);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Entered(Rc::clone(self))
    }

    /// A number that is another one each time.
    pub(crate) fn turn(&self) -> usize {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        turn
    }

    /// A request id that nobody else has.
    pub(crate) fn next_id(&self) -> u128 {
        // xorshift64*: unique is enough, secret it is not.
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        let mixed = x.wrapping_mul(0x2545_F491_4F6C_DD1D);
        (u128::from(self.salt.wrapping_add(self.turn.get() as u64)) << 64) | u128::from(mixed)
    }

    /// An empty buffer for a request's head.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.buffers
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE && buffer.capacity() <= SPARE_SIZE {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Whether anybody wants access records.
    pub(crate) fn records(&self) -> bool {
        self.shared.access.is_some()
    }

    /// Keeps a record until the next tick, or until there are many.
    pub(crate) fn record(&self, record: AccessRecord) {
        let full = {
            let mut records = self.records.borrow_mut();
            if records.capacity() == 0 {
                records.reserve_exact(BATCH);
            }
            records.push(record);
            records.len() >= BATCH
        };
        if full {
            self.flush_records();
        }
    }

    fn flush_records(&self) {
        let batch = std::mem::take(&mut *self.records.borrow_mut());
        if let (false, Some(sink)) = (batch.is_empty(), &self.shared.access) {
            sink.accept(batch);
        }
    }

    /// Milliseconds since 1970 of an instant.
    pub(crate) fn wall_clock(&self, instant: Instant) -> i64 {
        let (then, ms) = self.wall.get();
        let since = instant.saturating_duration_since(then).as_millis();
        ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Does what must be done every now and then, as long as anything is open.
    async fn tick(self: Rc<Self>) {
        let pool_age = ticks(self.shared.timeouts.pool);
        let mut idle = 0;
        let mut count = 0u32;
        loop {
            if self.connections.get() == 0 && idle == 0 && self.records.borrow().is_empty() {
                self.busy.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.wall.set((Instant::now(), now_ms()));
            self.deadlines.sweep();
            self.flush_records();
            count = count.wrapping_add(1);
            if count.is_multiple_of(5) {
                let oldest = self.deadlines.now().saturating_sub(pool_age);
                let wanted = self.shared.wanted.load();
                idle = self.pool.sweep(oldest, |id| wanted.contains(&id))
                    + self.h2_links.sweep(|id| wanted.contains(&id));
            } else {
                idle = idle.max(1);
            }
        }
    }

    async fn run(self: Rc<Self>, doors: Vec<Door>) {
        let mut ending = self.shared.ending.subscribe();
        let mut open = self.shared.open.subscribe();
        tokio::select! {
            _ = open.wait_for(|open| *open) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
        let mut accepting = Vec::with_capacity(doors.len());
        for door in doors {
            let accept = accept(Rc::clone(&self), door.listener, door.tls, door.port);
            accepting.push(tokio::task::spawn_local(accept));
        }
        tokio::task::spawn_local(Rc::clone(&self).tick());
        let mut abort = self.shared.abort.subscribe();
        let _ = ending.wait_for(|ending| *ending).await;
        for task in accepting {
            let _ = task.await;
        }
        self.ending.set(true);
        self.deadlines.wake_all();
        tokio::select! {
            () = self.empty() => {}
            _ = abort.wait_for(|abort| *abort) => {
                self.aborting.set(true);
                self.deadlines.wake_all();
                let _ = tokio::time::timeout(TICK * 5, self.empty()).await;
            }
        }
        self.flush_records();
    }

    async fn empty(&self) {
        while self.connections.get() > 0 {
            self.room.notified().await;
        }
    }
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct Entered(Rc<Worker>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.room.notify_one();
    }
}

/// Runs a worker on this thread until the edge has ended.
pub(crate) fn run(
    runtime: &tokio::runtime::LocalRuntime,
    shared: Arc<Shared>,
    index: usize,
    seed: [u64; 2],
    doors: Vec<Door>,
) {
    let worker = Rc::new(Worker::new(shared, index, seed));
    runtime.block_on(worker.run(doors));
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
