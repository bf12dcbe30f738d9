//! Deployments through the API: their turns, their events, what survives.

mod common;

use std::sync::Arc;

use common::{Api, path};
use nonna_testkit::runtime::FakeRuntime;
use nonna_testkit::store::MemoryStore;
use serde_json::json;

#[tokio::test]
async fn deploying_the_same_again_changes_nothing() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let again = api.deploy("shop/production", "app:1").await;
    assert_eq!(again.status, 200);
    let again = again.json();
    assert_eq!(again["state"], "succeeded");
    assert_eq!(again["plan"]["steps"].as_array().unwrap().len(), 0);
    let id = again["id"].as_str().unwrap();
    let events = api.get(&format!("/v1/deployments/{id}/events")).await;
    assert!(String::from_utf8_lossy(&events.body).contains("\"finished\""));
}

#[tokio::test]
async fn the_plan_that_was_shown_is_the_one_that_is_applied() {
    let api = Api::start().await;
    let at = path("shop/production");
    let shown = api
        .post(&format!("{at}/plan"), &json!({ "image": "app:1" }))
        .await
        .json();
    let digest = shown["digest"].as_str().unwrap();
    let other = json!({ "image": "app:2", "plan": digest });
    let refused = api.post(&format!("{at}/deployments"), &other).await;
    assert_eq!((refused.status, refused.code()), (409, "plan_changed".to_owned()));
    let agreed = json!({ "image": "app:1", "plan": digest });
    let begun = api.post(&format!("{at}/deployments"), &agreed).await;
    assert_eq!(begun.status, 202, "{}", String::from_utf8_lossy(&begun.body));
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.end_of(&id).await["state"], "succeeded");
}

#[tokio::test]
async fn the_later_waits_and_plans_anew_when_its_turn_comes() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let first = api.deploy("shop/production", "slow:1").await.json();
    let second = api.deploy("shop/production", "app:2").await.json();
    assert_eq!(first["state"], "running");
    assert_eq!(second["state"], "queued");
    let id = second["id"].as_str().unwrap();
    assert_eq!(api.end_of(id).await["state"], "succeeded");
    assert_eq!(
        api.end_of(first["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    let events = api.get(&format!("/v1/deployments/{id}/events")).await;
    assert!(String::from_utf8_lossy(&events.body).contains("\"queued\""));
    let releases = api
        .get(&format!("{}/services/web/releases", path("shop/production")))
        .await
        .json();
    assert_eq!(releases["items"].as_array().unwrap().len(), 3);
    assert_eq!(releases["items"][0]["current"], true);
}

#[tokio::test]
async fn replace_cancels_the_earlier_and_the_old_release_serves_meanwhile() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let stuck = api.deploy("shop/production", "stuck:1").await.json();
    let body = json!({ "image": "app:2", "replace": true });
    let next = api
        .post(&format!("{}/deployments", path("shop/production")), &body)
        .await
        .json();
    let ended = api.end_of(stuck["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "rolled_back");
    assert_eq!(ended["outcome"]["error"]["code"], "cancelled");
    assert_eq!(
        api.end_of(next["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
}

#[tokio::test]
async fn a_cancelled_deployment_leaves_the_old_release() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let stuck = api.deploy("shop/production", "stuck:1").await.json();
    let id = stuck["id"].as_str().unwrap();
    let cancelled = api
        .post(&format!("/v1/deployments/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(cancelled.status, 200);
    assert_eq!(api.end_of(id).await["state"], "rolled_back");
    let state = api.get(&path("shop/production")).await.json();
    assert_eq!(state["services"][0]["release"], "v1");
    assert_eq!(state["services"][0]["state"], "running");
    let again = api
        .post(&format!("/v1/deployments/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(again.status, 409);
}

#[tokio::test]
async fn events_go_on_after_the_last_one_seen() {
    let api = Api::start().await;
    let begun = api.deploy("shop/production", "app:1").await.json();
    let id = begun["id"].as_str().unwrap().to_owned();
    api.end_of(&id).await;
    let url = format!("/v1/deployments/{id}/events");
    let all = String::from_utf8_lossy(&api.get(&url).await.body).into_owned();
    let ids: Vec<&str> = all.lines().filter_map(|l| l.strip_prefix("id: ")).collect();
    assert!(ids.len() > 3, "{all}");
    assert!(all.contains("\"finished\""));
    let bearer = format!("Bearer {}", api.token);
    let headers = [("Authorization", bearer.as_str()), ("Last-Event-ID", ids[1])];
    let rest = api.send("GET", &url, &headers, b"").await;
    let rest = String::from_utf8_lossy(&rest.body).into_owned();
    let later: Vec<&str> = rest.lines().filter_map(|l| l.strip_prefix("id: ")).collect();
    assert_eq!(later, ids[2..]);
}

#[tokio::test]
async fn a_request_that_comes_twice_is_one_deployment() {
    let api = Api::start().await;
    let bearer = format!("Bearer {}", api.token);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "abc"),
    ];
    let url = format!("{}/deployments", path("shop/production"));
    let body = br#"{"image":"slow:1"}"#;
    let first = api.send("POST", &url, &headers, body).await.json();
    let second = api.send("POST", &url, &headers, body).await.json();
    assert_eq!(first["id"], second["id"]);
    let other = api.send("POST", &url, &headers, br#"{"image":"app:2"}"#).await;
    assert_eq!(other.status, 409);
}

#[tokio::test]
async fn a_variable_makes_a_release_and_staged_ones_wait() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let url = format!("{}/variables", path("shop/production"));
    let staged = api
        .post(&url, &json!({ "set": { "A": "1" }, "stage": true }))
        .await
        .json();
    assert!(staged["deployment"].is_null());
    let changed = api.post(&url, &json!({ "set": { "B": "2" } })).await.json();
    let id = changed["deployment"]["id"].as_str().unwrap();
    assert_eq!(api.end_of(id).await["state"], "succeeded");
    let same = api.post(&url, &json!({ "set": { "B": "2" } })).await.json();
    assert!(same["deployment"].is_null());
    let release = api
        .get(&format!("{}/services/web/releases", path("shop/production")))
        .await
        .json();
    assert_eq!(release["items"][0]["release"], "v2");
    assert_eq!(release["items"][0]["reason"], "variable B set");
}

#[tokio::test]
async fn a_route_of_another_project_is_refused_naming_its_owner() {
    let api = Api::start().await;
    let manifest = "[services.web]\nimage = \"app:1\"\ndomains = [\"shop.example.org\"]\n";
    let body = json!({ "manifest": manifest });
    let first = api
        .post(&format!("{}/deployments", path("shop/production")), &body)
        .await;
    assert_eq!(first.status, 202, "{}", String::from_utf8_lossy(&first.body));
    api.end_of(first.json()["id"].as_str().unwrap()).await;
    let second = api
        .post(&format!("{}/deployments", path("other/production")), &body)
        .await;
    assert_eq!((second.status, second.code()), (409, "conflict".to_owned()));
    assert!(String::from_utf8_lossy(&second.body).contains("shop/production/web"));
}

#[tokio::test]
async fn what_was_under_way_goes_on_at_the_next_start() {
    let store = Arc::new(MemoryStore::new());
    let runtime = FakeRuntime::new();
    let api = Api::over(Arc::clone(&store) as _, runtime.clone()).await;
    api.deployed("shop/production", "app:1").await;
    let slow = api.deploy("shop/production", "stuck:1").await.json();
    let waiting = api.deploy("shop/production", "app:2").await.json();
    api.server.shutdown().await;
    // The next start finds the image quicker.
    runtime.add_local_image("stuck:1", nonna_testkit::runtime::Behaviour::Healthy);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let router = nonna_testkit::router::FakeRouter::default();
    let parts = nonna_server::ServerParts::new(
        Arc::new(runtime.clone()),
        Arc::new(nonna_engine::standalone::NoBuilder),
        Arc::new(router),
        Arc::clone(&store) as _,
    );
    let server = nonna_server::Server::start(nonna_server::Config::default(), parts, listener)
        .await
        .unwrap();
    let token = server.token("again").await.unwrap();
    let api = Api {
        address: server.address(),
        server,
        runtime,
        router: nonna_testkit::router::FakeRouter::default(),
        store,
        token,
    };
    assert_eq!(
        api.end_of(slow["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    assert_eq!(
        api.end_of(waiting["id"].as_str().unwrap()).await["state"],
        "succeeded"
    );
    let state = api.get(&path("shop/production")).await.json();
    assert_eq!(state["services"][0]["source"], "app:2");
    assert_eq!(state["services"][0]["state"], "running");
}

#[tokio::test]
async fn destroying_leaves_nothing_and_asks_for_the_name() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let url = format!("{}/destroy", path("shop/production"));
    assert_eq!(api.post(&url, &json!({ "confirm": "shop" })).await.status, 400);
    let begun = api.post(&url, &json!({ "confirm": "production" })).await;
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.end_of(&id).await["state"], "succeeded");
    assert_eq!(api.get(&path("shop/production")).await.status, 404);
}
