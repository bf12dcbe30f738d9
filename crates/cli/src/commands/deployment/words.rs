//! What runs, in words.

use std::collections::BTreeMap;

use nonna_client::{Client, Place};
use nonna_engine::words::join;
pub(super) use nonna_engine::words::{Steps, done, previous, queued, releases};

/// How many deployments are looked back at.
const LOOK_BACK: u32 = 10;

/// What runs, and where it is reached, as the latest deployments left it. The
/// environment's own state would tell too, but it measures every replica first,
/// and that takes a second.
pub(super) async fn current(
    client: &Client,
    place: &Place,
) -> (Option<String>, BTreeMap<String, Vec<String>>) {
    let latest = client
        .latest_deployments(place, LOOK_BACK)
        .await
        .unwrap_or_default();
    let mut running: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for deployment in latest
        .into_iter()
        .filter(|deployment| deployment.state == "succeeded")
    {
        for service in deployment.plan.services.values() {
            let name = service.name.to_string();
            if running.contains_key(&name) {
                continue;
            }
            if let (Some(_), Some(reached)) = (&service.release, deployment.urls.get(&name)) {
                urls.insert(name.clone(), reached.clone());
            }
            let release = service.release.as_ref().map(|release| release.number.to_string());
            running.insert(name, release);
        }
    }
    let running = running
        .iter()
        .filter_map(|(name, release)| Some((name.as_str(), release.clone()?)))
        .collect();
    (join(running), urls)
}
