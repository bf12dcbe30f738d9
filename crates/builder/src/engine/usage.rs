//! What the engine keeps of builds, and having it removed. Written against
//! version 1.41 of the API, because later ones answer in another shape.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use nonna_engine::Result;
use serde::Deserialize;

use super::Engine;
use super::request::{escape, message};
use super::wire::{API, Connection, empty, request};

/// What the engine says while it measures for somebody else.
const BUSY: &str = "already running";
/// How soon it is asked again, and how often.
const AGAIN: Duration = Duration::from_millis(100);
const ASKED: u32 = 300;

/// What `GET /system/df` tells of builds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Usage {
    /// Images; `null` where there is none.
    pub(crate) images: Option<Vec<ImageUsage>>,
    /// The builder's cache.
    pub(crate) build_cache: Option<Vec<CacheRecord>>,
}

/// An image and what it takes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageUsage {
    pub(crate) id: String,
    /// Seconds since 1970, UTC.
    pub(crate) created: i64,
    pub(crate) size: i64,
    /// What other images have too; -1 where it is not known.
    pub(crate) shared_size: i64,
    /// How many containers are made of it; -1 where it is not known.
    pub(crate) containers: i64,
    pub(crate) labels: Option<HashMap<String, String>>,
}

/// A record of BuildKit's cache.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CacheRecord {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) parent: String,
    /// From version 1.42 on.
    pub(crate) parents: Option<Vec<String>>,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) description: String,
    pub(crate) in_use: bool,
    /// It is a layer of an image too.
    pub(crate) shared: bool,
    pub(crate) size: i64,
    pub(crate) created_at: Option<String>,
    pub(crate) last_used_at: Option<String>,
}

impl CacheRecord {
    /// The records that it stands on.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        let several = self.parents.iter().flatten().map(String::as_str);
        let one = Some(self.parent.as_str()).filter(|parent| !parent.is_empty());
        several.chain(one)
    }
}

/// What `GET /info` tells, as far as builds need it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Info {
    /// Where its data is, on its own machine.
    pub(crate) docker_root_dir: Option<String>,
    /// `cgroupfs` or `systemd`.
    pub(crate) cgroup_driver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Pruned {
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

impl Engine {
    async fn ask(&self, what: &str, method: Method, path: &str) -> Result<Vec<u8>> {
        let request = request(method, path, empty())?;
        let (response, _connection) = Connection::open(self).await?.send(self, request).await?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| self.unavailable(&error))?
            .to_bytes();
        if status.is_success() {
            Ok(body.to_vec())
        } else {
            Err(self.said_no(what, status.as_u16(), &message(&body)))
        }
    }

    /// What builds take.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        const WHAT: &str = "say what builds take of its disk";
        let mut asked = 0;
        let body = loop {
            match self.ask(WHAT, Method::GET, &format!("{API}/system/df")).await {
                // It answers one at a time.
                Err(error)
                    if asked < ASKED && error.provider.as_ref().is_some_and(|words| words.contains(BUSY)) =>
                {
                    asked += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                result => break result?,
            }
        };
        serde_json::from_slice(&body)
            .map_err(|error| self.said_no(WHAT, 200, &format!("its answer cannot be read: {error}")))
    }

    /// Removes one record of the builder's cache; answers the ids that went,
    /// and how many bytes they had. One that is in use, or that others stand
    /// on, stays.
    pub(crate) async fn prune_cache(&self, id: &str) -> Result<(Vec<String>, u64)> {
        const WHAT: &str = "remove a cache of builds";
        let filters = serde_json::json!({ "id": { id: true } }).to_string();
        let mut path = format!("{API}/build/prune?all=1&filters=");
        escape(&mut path, &filters);
        let body = self.ask(WHAT, Method::POST, &path).await?;
        let pruned: Pruned = serde_json::from_slice(&body)
            .map_err(|error| self.said_no(WHAT, 200, &format!("its answer cannot be read: {error}")))?;
        Ok((pruned.caches_deleted.unwrap_or_default(), pruned.space_reclaimed))
    }

    /// What the engine says of its machine: asked once.
    pub(crate) async fn info(&self) -> Result<&Info> {
        const WHAT: &str = "say what it is";
        self.info
            .get_or_try_init(|| async {
                let body = self.ask(WHAT, Method::GET, &format!("{API}/info")).await?;
                serde_json::from_slice(&body)
                    .map_err(|error| self.said_no(WHAT, 200, &format!("its answer cannot be read: {error}")))
            })
            .await
    }

    /// Whether the engine is on this machine, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        self.url().starts_with("unix://")
    }
}
