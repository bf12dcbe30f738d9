//! The floor of a roll-out: the same container made, started, asked and put in
//! the place of the old one through the container engine's API alone.

use std::net::SocketAddr;

use anyhow::Context;
use nonna_e2e::engine;
use serde_json::{Value, json};

/// One container that is replaced again and again. Dropped, it is removed.
#[derive(Debug)]
pub struct Direct {
    label: String,
    old: Option<String>,
}

impl Direct {
    /// None yet. `label` tells its containers from others'.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            old: None,
        }
    }

    /// Starts a container of this image with the limits that services have,
    /// waits until `healthy` is content with what answers on its port 8080,
    /// and removes the container before it.
    ///
    /// # Errors
    /// What the engine or `healthy` says.
    pub fn replace(
        &mut self,
        image: &str,
        healthy: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let create = json!({
            "Image": image,
            "Labels": { "nonna.installation": self.label },
            "HostConfig": { "Memory": 536_870_912, "RestartPolicy": { "Name": "always" } },
        });
        let body = serde_json::to_vec(&create)?;
        let answer = engine::send("POST", "/containers/create", "application/json", &body)?;
        let id = serde_json::from_str::<Value>(&answer)?["Id"]
            .as_str()
            .context("no id")?
            .to_owned();
        engine::call("POST", &format!("/containers/{id}/start"))?;
        let inspected = engine::get(&format!("/containers/{id}/json"))?;
        let ip = inspected["NetworkSettings"]["IPAddress"]
            .as_str()
            .context("no address")?
            .to_owned();
        healthy(format!("{ip}:8080").parse()?)?;
        if let Some(old) = self.old.replace(id) {
            engine::call("DELETE", &format!("/containers/{old}?force=true"))?;
        }
        Ok(())
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        if let Err(error) = engine::clean(&self.label) {
            crate::say(&format!(
                "the containers of {} are still there: {error:#}",
                self.label
            ));
        }
    }
}
