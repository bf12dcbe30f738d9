//! Certificates from an authority that speaks ACME: which hosts need one,
//! when each is renewed, and what happens when it fails.

mod clock;
mod order;
mod saved;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use instant_acme::{Account, AccountCredentials, CertificateIdentifier, NewAccount};
use tokio::time::Instant;

pub use clock::{Clock, SystemClock};
use saved::Saved;

use super::Tls;
use crate::EdgeHandle;
use crate::error::EdgeError;

/// Let's Encrypt's directory.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How many orders are under way at once.
const AT_ONCE: usize = 4;

/// How a host is proved to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A file over plain HTTP, port 80.
    Http01,
    /// A certificate over TLS, port 443.
    TlsAlpn01,
}

/// How certificates are got.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// The URL of the authority's directory.
    pub directory: String,
    /// A file with the certificate (PEM) that the authority's own server is
    /// trusted by, in place of the system's; for private authorities.
    pub root: Option<PathBuf>,
    /// Where the authority may write to: `mailto:ops@example.org`.
    pub contact: Vec<String>,
    /// The challenges to try, in this order; each failure moves to the next.
    pub challenges: Vec<Challenge>,
    /// Tells whether a certificate is due.
    pub clock: Arc<dyn Clock>,
    /// How often it is looked whether something is due; new hosts are seen at
    /// once.
    pub check: Duration,
    /// How long to wait after the first failure; doubles with each more.
    pub retry_first: Duration,
    /// The longest wait after a failure.
    pub retry_most: Duration,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            directory: LETS_ENCRYPT.to_owned(),
            root: None,
            contact: Vec::new(),
            challenges: vec![Challenge::Http01, Challenge::TlsAlpn01],
            clock: Arc::new(SystemClock),
            check: Duration::from_secs(60),
            retry_first: Duration::from_secs(60),
            retry_most: Duration::from_secs(6 * 3600),
        }
    }
}

/// How it stands with the certificate of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The host.
    pub host: String,
    /// When the certificate ends; `None`: there is none yet.
    pub expires: Option<SystemTime>,
    /// When it will be renewed.
    pub due: Option<SystemTime>,
    /// Failures in a row.
    pub failures: u32,
    /// What the last failure was.
    pub error: Option<String>,
}

/// Gets and renews the certificates of an edge's hosts.
#[derive(Debug)]
pub struct AcmeManager {
    config: AcmeConfig,
    tls: Arc<Tls>,
    status: tokio::sync::watch::Sender<Vec<CertificateStatus>>,
}

/// What the manager knows of one host.
#[derive(Debug, Default, Clone)]
struct Host {
    looked: bool,
    saved: Option<Arc<Saved>>,
    due: Option<SystemTime>,
    /// When the authority is asked again what it suggests.
    ask_again: Option<Instant>,
    failures: u32,
    wait_until: Option<Instant>,
    error: Option<String>,
}

impl EdgeHandle {
    /// A manager of this edge's certificates; [`AcmeManager::run`] does the
    /// work. `None` where the edge does not speak TLS.
    #[must_use]
    pub fn acme(&self, config: AcmeConfig) -> Option<AcmeManager> {
        let tls = Arc::clone(self.tls()?);
        Some(AcmeManager {
            config,
            tls,
            status: tokio::sync::watch::Sender::default(),
        })
    }
}

impl AcmeManager {
    /// How it stands, as it changes; hosts in order.
    #[must_use]
    pub fn status(&self) -> tokio::sync::watch::Receiver<Vec<CertificateStatus>> {
        self.status.subscribe()
    }

    /// Gets and renews certificates until the future is dropped. Several
    /// processes may do so over one store: what one got, the others find.
    pub async fn run(self) {
        let mut table = self.tls.table.subscribe();
        let mut hosts: HashMap<String, Host> = HashMap::new();
        let mut account = None;
        loop {
            let wanted: Vec<String> = {
                let table = table.borrow_and_update();
                let mut wanted: Vec<_> = table
                    .hosts()
                    .filter(|host| may_have(host))
                    .map(str::to_owned)
                    .collect();
                wanted.sort();
                wanted
            };
            for (gone, _) in hosts.extract_if(|host, _| wanted.binary_search(host).is_err()) {
                self.tls.certificates.remove(&gone);
            }
            let mut due = Vec::new();
            for name in &wanted {
                let host = hosts.entry(name.clone()).or_default();
                if !host.looked || self.is_due(host) {
                    // Another process may have been quicker.
                    self.look(name, host).await;
                }
                if self.is_due(host) && host.wait_until.is_none_or(|until| until <= Instant::now()) {
                    due.push((name.clone(), host.clone()));
                }
            }
            self.tell(&hosts);
            if !due.is_empty() || hosts.values().any(Host::asks) {
                account = match account {
                    Some(account) => Some(account),
                    None => self.account_or_wait(&mut due, &mut hosts).await,
                };
            }
            if let Some(account) = &account {
                let this = &self;
                let mut orders = futures_util::stream::iter(due)
                    .map(|(name, host)| async move {
                        let result = this.order(account, &name, &host).await;
                        (name, result)
                    })
                    .buffer_unordered(AT_ONCE);
                while let Some((name, result)) = orders.next().await {
                    let host = hosts.entry(name.clone()).or_default();
                    match result {
                        Ok(saved) => self.use_saved(&name, host, saved),
                        Err(error) => self.failed(&name, host, &error),
                    }
                    self.tell(&hosts);
                }
                drop(orders);
                self.ask_suggestions(account, &mut hosts).await;
                self.tell(&hosts);
            }
            tokio::select! {
                changed = table.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.config.check) => {}
            }
        }
    }

    fn is_due(&self, host: &Host) -> bool {
        host.saved.is_none() || host.due.is_none_or(|due| due <= self.config.clock.now())
    }

    /// Loads what the store has for a host.
    async fn look(&self, name: &str, host: &mut Host) {
        match Saved::load(&*self.tls.store, name).await {
            Ok(found) => {
                host.looked = true;
                let Some(saved) = found else { return };
                let newer = host
                    .saved
                    .as_ref()
                    .is_none_or(|have| have.expires < saved.expires);
                // A store may hold what another authority gave.
                if newer && saved.directory == self.config.directory {
                    self.use_saved(name, host, saved);
                }
            }
            Err(error) => tracing::warn!(%error, host = name, "cannot load a certificate"),
        }
    }

    fn use_saved(&self, name: &str, host: &mut Host, saved: Saved) {
        match self
            .tls
            .certificates
            .set(name, saved.chain.as_bytes(), saved.key.as_bytes())
        {
            Ok(()) => {
                let due = saved.usual_renewal();
                *host = Host {
                    looked: true,
                    due: Some(due),
                    ask_again: Some(Instant::now()),
                    ..Host::default()
                };
                host.saved = Some(Arc::new(saved));
            }
            Err(error) => self.failed(name, host, &error),
        }
    }

    fn failed(&self, name: &str, host: &mut Host, error: &EdgeError) {
        let wait = self
            .config
            .retry_first
            .saturating_mul(1 << host.failures.min(16))
            .min(self.config.retry_most);
        let wait = wait.mul_f64(jitter(0.75, 1.25));
        host.failures = host.failures.saturating_add(1);
        host.wait_until = Some(Instant::now() + wait);
        host.error = Some(error.to_string());
        tracing::warn!(%error, host = name, failures = host.failures, ?wait, "no certificate; trying again later");
    }

    async fn account_or_wait(
        &self,
        due: &mut Vec<(String, Host)>,
        hosts: &mut HashMap<String, Host>,
    ) -> Option<Account> {
        match self.account().await {
            Ok(account) => Some(account),
            Err(error) => {
                for (name, _) in due.drain(..) {
                    if let Some(host) = hosts.get_mut(&name) {
                        self.failed(&name, host, &error);
                    }
                }
                self.tell(hosts);
                None
            }
        }
    }

    /// Opens the account that is in the store, or makes one.
    async fn account(&self) -> Result<Account, EdgeError> {
        let builder = || match &self.config.root {
            Some(root) => Account::builder_with_root(root).map_err(refused),
            None => Account::builder().map_err(refused),
        };
        let name = format!("acme/account/{}", key_of(&self.config.directory));
        if let Some(saved) = self.tls.store.load(&name).await? {
            let credentials: AccountCredentials = serde_json::from_slice(&saved).map_err(refused)?;
            return builder()?.from_credentials(credentials).await.map_err(refused);
        }
        let contact: Vec<&str> = self.config.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder()?
            .create(&new, self.config.directory.clone(), None)
            .await
            .map_err(refused)?;
        let saved = serde_json::to_vec(&credentials).map_err(refused)?;
        self.tls.store.save(&name, &saved).await?;
        Ok(account)
    }

    async fn order(&self, account: &Account, name: &str, host: &Host) -> Result<Saved, EdgeError> {
        let kinds = &self.config.challenges;
        let turn = host.failures as usize % kinds.len().max(1);
        let kind = kinds.get(turn).copied().unwrap_or(Challenge::Http01);
        let suggests = host.saved.as_ref().filter(|saved| saved.suggests);
        let (chain, key) =
            order::get(account, &self.tls.challenges, name, kind, suggests.map(|s| &**s)).await?;
        let saved = Saved::new(self.config.directory.clone(), chain, key)?;
        saved.save(&*self.tls.store, name).await?;
        tracing::info!(host = name, "got a certificate");
        Ok(saved)
    }

    /// Asks the authority when it would like each certificate to be renewed.
    async fn ask_suggestions(&self, account: &Account, hosts: &mut HashMap<String, Host>) {
        for (name, host) in hosts.iter_mut().filter(|(_, host)| host.asks()) {
            let Some(saved) = &host.saved else { continue };
            let Some(leaf) = saved.leaf() else { continue };
            let Ok(id) = CertificateIdentifier::try_from(&leaf) else {
                continue;
            };
            match account.renewal_info(&id).await {
                Ok((info, again)) => {
                    let start = SystemTime::from(info.suggested_window.start);
                    let end = SystemTime::from(info.suggested_window.end);
                    let window = end.duration_since(start).unwrap_or_default();
                    let suggested = start + window.mul_f64(jitter(0.0, 1.0));
                    // Never later than is safe.
                    host.due = Some(suggested.min(saved.latest_renewal()));
                    host.ask_again = Some(Instant::now() + again.max(self.config.check));
                    let mut saved = Saved::clone(saved);
                    saved.suggests = true;
                    host.saved = Some(Arc::new(saved));
                }
                Err(instant_acme::Error::Unsupported(_)) => host.ask_again = None,
                Err(error) => {
                    tracing::debug!(%error, host = name, "the authority suggests no time of renewal");
                    host.ask_again = Some(Instant::now() + self.config.retry_most);
                }
            }
        }
    }

    fn tell(&self, hosts: &HashMap<String, Host>) {
        let mut all: Vec<_> = hosts
            .iter()
            .map(|(name, host)| CertificateStatus {
                host: name.clone(),
                expires: host.saved.as_ref().map(|saved| saved.expires),
                due: host.due,
                failures: host.failures,
                error: host.error.clone(),
            })
            .collect();
        all.sort_by(|a, b| a.host.cmp(&b.host));
        self.status.send_if_modified(|now| {
            let changed = *now != all;
            *now = all;
            changed
        });
    }
}

impl Host {
    /// The authority is to be asked for a suggestion now.
    fn asks(&self) -> bool {
        self.saved.is_some() && self.ask_again.is_some_and(|at| at <= Instant::now())
    }
}

/// Whether a public authority could give a certificate for this host.
fn may_have(host: &str) -> bool {
    let local = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];
    host.contains('.')
        && !host.contains('_')
        && !local.iter().any(|end| host.ends_with(end))
        && host.parse::<std::net::IpAddr>().is_err()
}

/// A number between two, so that many do not do the same at the same moment.
fn jitter(least: f64, most: f64) -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the middle will do.
    let part = match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    };
    least + (most - least) * part
}

fn refused(error: impl std::fmt::Display) -> EdgeError {
    EdgeError::Acme(error.to_string())
}

/// A store's name for a URL.
fn key_of(url: &str) -> String {
    url.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_get_no_public_certificate() {
        for host in [
            "localhost",
            "app.localhost",
            "a.local",
            "10.0.0.1",
            "single",
            "a_b.example.org",
        ] {
            assert!(!may_have(host), "{host}");
        }
        assert!(may_have("shop.example.org"));
    }
}
