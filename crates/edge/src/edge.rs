//! Starting the edge, and what can be asked of it while it runs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::config::EdgeConfig;
use crate::conn::bind;
use crate::error::EdgeError;
use crate::observe::Snapshot;
use crate::observe::metrics::ServiceMetrics;
use crate::route::{Routes, Service, ServiceConfig, Table, Upstream};
use crate::tls::{Certificates, Tls};
use crate::worker::{self, Door, Shared};

/// The edge.
#[derive(Debug)]
pub struct Edge;

impl Edge {
    /// Binds the listeners and starts the workers.
    ///
    /// # Errors
    /// [`EdgeError::Bind`] where a listener cannot be had; `Certificate` where
    /// the local authority cannot be made.
    pub fn start(config: EdgeConfig) -> Result<EdgeHandle, EdgeError> {
        let workers = config
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, std::num::NonZeroUsize::get);
        let tls = config.tls.map(Tls::new).transpose()?.map(Arc::new);
        let mut doors: Vec<Vec<Door>> = (0..workers).map(|_| Vec::new()).collect();
        let mut http = Vec::new();
        let mut https = Vec::new();
        let all = config.http.into_iter().map(|listen| (listen, false));
        for (listen, secure) in all.chain(config.https.into_iter().map(|listen| (listen, true))) {
            let bound = bind(listen, workers)?;
            if secure { &mut https } else { &mut http }.push(bound.address);
            let own = bound.address.port();
            let port = if secure {
                config.public_https_port.unwrap_or(own)
            } else {
                own
            };
            for (doors, listener) in doors.iter_mut().zip(bound.sockets) {
                doors.push(Door {
                    listener,
                    tls: secure && tls.is_some(),
                    port,
                });
            }
        }
        let https_port = https
            .first()
            .map(|address| config.public_https_port.unwrap_or(address.port()));
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(Table::default()),
            unrouted: ServiceMetrics::new(workers),
            limits: config.limits,
            timeouts: config.timeouts,
            redirect_https: config.redirect_https,
            https_port,
            trusted: config.trusted_proxies,
            access: config.access,
            tls,
            connections: std::sync::atomic::AtomicU64::new(0),
            epoch: Instant::now(),
            wanted: ArcSwap::from_pointee(HashSet::new()),
            open: watch::Sender::new(!config.closed),
            ending: watch::Sender::new(false),
            abort: watch::Sender::new(false),
            workers,
        });
        let mut threads = Vec::with_capacity(workers);
        for (index, doors) in doors.into_iter().enumerate() {
            threads.push(spawn(&shared, index, doors)?);
        }
        Ok(EdgeHandle(Arc::new(Inner {
            shared,
            routes: Mutex::new(Registry::default()),
            threads: Mutex::new(threads),
            http,
            https,
        })))
    }
}

fn spawn(shared: &Arc<Shared>, index: usize, doors: Vec<Door>) -> Result<JoinHandle<()>, EdgeError> {
    let mut bytes = [[0; 8]; 2];
    for part in &mut bytes {
        getrandom::fill(part).map_err(|error| EdgeError::Worker(std::io::Error::other(error)))?;
    }
    let seed = bytes.map(u64::from_ne_bytes);
    let shared = Arc::clone(shared);
    // The runtime lives on the thread; whether it could be made is told back.
    let (ready, made) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("nonna-edge")
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                worker::run(&runtime, shared, index, seed, doors);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    };
    let thread = std::thread::Builder::new()
        .name(format!("nonna-edge-{index}"))
        .spawn(body)
        .map_err(EdgeError::Worker)?;
    match made.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(EdgeError::Worker(error)),
        Err(error) => Err(EdgeError::Worker(std::io::Error::other(error))),
    }
}

/// The running edge. Cheap to clone; all clones are the same edge, which goes
/// on until [`EdgeHandle::shutdown`].
#[derive(Debug, Clone)]
pub struct EdgeHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    routes: Mutex<Registry>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
}

/// The routes, and the replicas that left but may still be busy.
#[derive(Debug, Default)]
struct Registry {
    routes: Routes,
    leaving: Vec<Arc<Upstream>>,
}

impl EdgeHandle {
    /// Where plain HTTP is served, with the real ports.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.0.http
    }

    /// Where HTTPS is served, with the real ports.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.0.https
    }

    /// Makes this the service's configuration, for every request from now on;
    /// those under way go on where they are. Returns how long the switch
    /// itself took: from a configuration ready in memory to one that every
    /// worker sees.
    ///
    /// # Errors
    /// [`EdgeError::Route`] for a route that cannot be, [`EdgeError::Taken`]
    /// where another service has it. Nothing is changed then.
    pub fn set_service(&self, key: &str, config: &ServiceConfig) -> Result<Duration, EdgeError> {
        let mut registry = self.registry();
        registry.routes.check(key, &config.routes)?;
        let known = registry.routes.services.get(key).cloned();
        let took = if let Some((service, before)) = known {
            let table = (before != config.routes).then(|| {
                registry
                    .routes
                    .services
                    .insert(key.to_owned(), (Arc::clone(&service), config.routes.clone()));
                Arc::new(registry.routes.table())
            });
            let start = Instant::now();
            let gone = service.update(key, config);
            if let Some(table) = table {
                self.0.shared.table.store(table);
            }
            let took = start.elapsed();
            registry.leaving.extend(gone);
            took
        } else {
            let service = Service::new(key, config, self.0.shared.workers);
            registry
                .routes
                .services
                .insert(key.to_owned(), (service, config.routes.clone()));
            let table = Arc::new(registry.routes.table());
            let start = Instant::now();
            self.0.shared.table.store(table);
            start.elapsed()
        };
        self.publish(&mut registry);
        Ok(took)
    }

    /// Sends all new requests of a service to these replicas. Returns how long
    /// the switch took.
    ///
    /// # Errors
    /// [`EdgeError::UnknownService`].
    pub fn switch(&self, key: &str, upstreams: &[SocketAddr]) -> Result<Duration, EdgeError> {
        let mut registry = self.registry();
        let Some((service, routes)) = registry.routes.services.get(key) else {
            return Err(EdgeError::UnknownService(key.to_owned()));
        };
        let config = {
            let backend = service.backend.load();
            ServiceConfig {
                label: service.label().to_string(),
                routes: routes.clone(),
                upstreams: upstreams.to_vec(),
                protocol: backend.protocol,
                paused: backend.paused,
                body_bytes: backend.body_bytes,
            }
        };
        let start = Instant::now();
        let gone = service.update(key, &config);
        let took = start.elapsed();
        registry.leaving.extend(gone);
        self.publish(&mut registry);
        Ok(took)
    }

    /// Takes a service and its routes away. What is under way goes on.
    pub fn remove(&self, key: &str) {
        let mut registry = self.registry();
        let Some((service, _)) = registry.routes.services.remove(key) else {
            return;
        };
        self.0.shared.table.store(Arc::new(registry.routes.table()));
        registry.leaving.extend(service.retire());
        self.publish(&mut registry);
    }

    /// Waits until nothing is in flight to these replicas, or the deadline
    /// passed; WebSockets and streams count. Returns how many requests were
    /// still in flight. Replicas that a service still has are waited for too,
    /// but get new requests meanwhile. Needs a tokio runtime with a timer.
    pub async fn drain(&self, upstreams: &[SocketAddr], deadline: Duration) -> usize {
        let busy: Vec<_> = {
            let registry = self.registry();
            let services = registry.routes.services.values();
            let current = services.flat_map(|(service, _)| service.backend.load().upstreams.clone());
            let all = current.chain(registry.leaving.iter().map(Arc::clone));
            all.filter(|upstream| upstreams.contains(&upstream.address))
                .collect()
        };
        let quiet = async {
            for upstream in &busy {
                upstream.quiet().await;
            }
        };
        if tokio::time::timeout(deadline, quiet).await.is_ok() {
            return 0;
        }
        busy.iter().map(|upstream| upstream.in_flight()).sum()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        let shared = &self.0.shared;
        let registry = self.registry();
        let services = registry.routes.services.values();
        let mut services: Vec<_> = services
            .map(|(service, _)| service.metrics.snapshot(&service.label()))
            .collect();
        services.sort_by(|a, b| a.label.cmp(&b.label));
        Snapshot {
            services,
            unrouted: shared.unrouted.snapshot(""),
            connections: shared.connections.load(std::sync::atomic::Ordering::Relaxed),
            access_dropped: shared.access.as_ref().map_or(0, |sink| sink.dropped()),
        }
    }

    /// The certificates, where the edge speaks TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.0.shared.tls.as_ref().map(|tls| &*tls.certificates)
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        self.0.shared.tls.as_ref()
    }

    /// Begins to accept, where the edge was started closed: connections that
    /// came meanwhile have waited.
    pub fn open(&self) {
        self.0.shared.open.send_replace(true);
    }

    /// Stops accepting, lets what is in flight end (new requests on open
    /// connections are told to go elsewhere), and after the deadline cuts what
    /// is left. Returns how many connections were cut. Needs a tokio runtime
    /// with a timer.
    pub async fn shutdown(&self, deadline: Duration) -> usize {
        let shared = &self.0.shared;
        shared.ending.send_replace(true);
        let threads = std::mem::take(&mut *lock(&self.0.threads));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        tokio::pin!(joined);
        if tokio::time::timeout(deadline, &mut joined).await.is_ok() {
            return 0;
        }
        let left = shared.connections.load(std::sync::atomic::Ordering::Relaxed);
        shared.abort.send_replace(true);
        let _ = joined.await;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        lock(&self.0.routes)
    }

    /// Tells everybody else who cares what is there now.
    fn publish(&self, registry: &mut Registry) {
        registry.leaving.retain(|upstream| upstream.in_flight() > 0);
        let services = registry.routes.services.values();
        let wanted: HashSet<u64> = services
            .flat_map(|(service, _)| {
                service
                    .backend
                    .load()
                    .upstreams
                    .iter()
                    .map(|u| u.id)
                    .collect::<Vec<_>>()
            })
            .collect();
        self.0.shared.wanted.store(Arc::new(wanted));
        if let Some(tls) = &self.0.shared.tls {
            tls.set_hosts(self.0.shared.table.load_full());
        }
    }

    /// The public URL of a host and path.
    pub(crate) fn url_of(&self, host: &str, path: &str) -> String {
        let local = host == "localhost" || host.ends_with(".localhost");
        let secure = self.0.shared.https_port.filter(|_| !local);
        let (scheme, port, usual) = match (secure, self.0.http.first()) {
            (Some(port), _) => ("https", port, 443),
            (None, Some(http)) => ("http", http.port(), 80),
            (None, None) => ("https", self.0.shared.https_port.unwrap_or(443), 443),
        };
        let path = if path == "/" { "" } else { path };
        if port == usual {
            format!("{scheme}://{host}{path}")
        } else {
            format!("{scheme}://{host}:{port}{path}")
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere left nothing half done: every change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
