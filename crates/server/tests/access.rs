//! Who may come in, and what bad input gets.

mod common;

use common::{Api, path};
use serde_json::{Value, json};

fn filled(path: &str) -> String {
    path.replace("{project}", "shop")
        .replace("{environment}", "production")
        .replace("{service}", "web")
        .replace("{deployment}", "dep-aaaaaaaaaaaaaaaa")
        .replace("{digest}", &format!("sha256:{}", "0".repeat(64)))
        .replace("{name}", "A")
}

#[tokio::test]
async fn every_path_but_the_public_ones_refuses_without_a_token() {
    let api = Api::start().await;
    let document = api.get("/v1/openapi.json").await.json();
    let mut checked = 0;
    let mut public = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let permission = operation["x-permission"].as_str().expect(path);
            let url = filled(path);
            if permission == "public" {
                assert!(operation["security"].is_null(), "{path}");
                public.push(path.clone());
                continue;
            }
            assert!(!operation["security"].is_null(), "{path}");
            let wrong = format!("Bearer nonna_{}", "a".repeat(32));
            for headers in [
                vec![],
                vec![("Authorization", "Bearer x")],
                vec![("Authorization", "Basic YTpi")],
                vec![("Authorization", wrong.as_str())],
            ] {
                let answer = api.send(&method.to_ascii_uppercase(), &url, &headers, b"").await;
                assert_eq!(answer.status, 401, "{method} {path}");
                assert_eq!(answer.code(), "unauthenticated", "{method} {path}");
                assert!(answer.head.contains("www-authenticate"), "{method} {path}");
            }
            checked += 1;
        }
    }
    public.sort();
    assert_eq!(
        public,
        [
            "/healthz",
            "/v1/git/hooks/{connection}",
            "/v1/login",
            "/v1/openapi.json",
            "/v1/version"
        ]
    );
    assert!(checked >= 25, "{checked}");
}

#[tokio::test]
async fn a_login_code_is_good_once_and_guessing_is_slowed_down() {
    let api = Api::start().await;
    let code = api.server.login_code().await.unwrap();
    let login = json!({ "code": code.to_uppercase(), "name": "laptop" });
    let first = api.post("/v1/login", &login).await;
    assert_eq!(first.status, 200);
    assert!(first.json()["token"].as_str().unwrap().starts_with("nonna_"));
    assert_eq!(api.post("/v1/login", &login).await.status, 401);
    let mut last = 0;
    for _ in 0..12 {
        last = api
            .post("/v1/login", &json!({ "code": "x", "name": "y" }))
            .await
            .status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn bad_input_is_told_what_is_wrong_with_it() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let at = path("shop/production");
    let deployments = format!("{at}/deployments");
    let scale = format!("{at}/services/web/scale");
    let variables = format!("{at}/variables");
    let long = "a".repeat(70_000);
    let many = json!({ "set": { "A": long } });
    let cases: Vec<(String, String, u16)> = vec![
        (deployments.clone(), "{".into(), 400),
        (deployments.clone(), "[]".into(), 400),
        (deployments.clone(), "{\"image\": 1}".into(), 400),
        (deployments.clone(), "{\"images\": \"app:1\"}".into(), 400),
        (deployments.clone(), "{\"image\": \"a b; rm -rf /\"}".into(), 400),
        (
            deployments.clone(),
            json!({ "manifest": "colour = 1" }).to_string(),
            400,
        ),
        (
            deployments.clone(),
            json!({ "services": ["wbe"] }).to_string(),
            404,
        ),
        (
            deployments.clone(),
            json!({ "contexts": { "web": "../../etc" } }).to_string(),
            400,
        ),
        (scale.clone(), "{\"replicas\": \"2\"}".into(), 400),
        (scale.clone(), "{\"replicas\": -1}".into(), 400),
        (scale.clone(), "{\"replicas\": 0}".into(), 400),
        (scale.clone(), "{\"replicas\": 4000000000}".into(), 422),
        (variables.clone(), "{}".into(), 400),
        (
            variables.clone(),
            json!({ "set": { "1A": "x" } }).to_string(),
            400,
        ),
        (
            variables.clone(),
            json!({ "set": { "A; DROP TABLE": "x" } }).to_string(),
            400,
        ),
        (
            variables.clone(),
            json!({ "set": { "A": "\u{0}" } }).to_string(),
            400,
        ),
        (variables.clone(), many.to_string(), 400),
        (
            format!("{variables}?scope=galaxy"),
            json!({ "set": { "A": "1" } }).to_string(),
            400,
        ),
        (format!("{at}/destroy"), "{\"confirm\": \"shop\"}".into(), 400),
        (
            format!("{at}/services/web/rollback"),
            "{\"release\": \"latest\"}".into(),
            400,
        ),
        (
            format!("{at}/services/web/rollback"),
            "{\"release\": \"v99\"}".into(),
            404,
        ),
        (
            "/v1/projects/x'%20OR%201=1--/environments/production/plan".into(),
            "{}".into(),
            400,
        ),
        (
            "/v1/projects/..%2f..%2fetc/environments/production/plan".into(),
            "{}".into(),
            400,
        ),
        (
            format!("/v1/projects/{}/environments/production/plan", "a".repeat(41)),
            "{}".into(),
            400,
        ),
        ("/v1/nothing".into(), "{}".into(), 404),
        ("/v1/version".into(), "{}".into(), 405),
    ];
    for (url, body, status) in cases {
        let answer = api.post_text(&url, &body).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(
            answer.status,
            status,
            "{url} {shown}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let error = &answer.json()["error"];
        assert!(
            error["message"].as_str().is_some_and(|m| m.len() > 10),
            "{url} {shown}"
        );
    }
    let huge = format!("{{\"manifest\": \"{}\"}}", "a".repeat(3_000_000));
    assert_eq!(api.post_text(&deployments, &huge).await.status, 413);
    let bearer = format!("Bearer {}", api.token);
    let form = api
        .send("POST", &deployments, &[("Authorization", &bearer)], b"{}")
        .await;
    assert_eq!(form.status, 415);
    // Nothing of all this changed anything.
    let state = api.get(&at).await.json();
    assert_eq!(state["services"][0]["release"], "v1");
}

#[tokio::test]
async fn a_secret_is_told_only_to_who_asks_for_it_and_on_record() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let at = path("shop/production");
    let set = json!({ "set": { "KEY": "hunter2" }, "secret": true });
    let changed = api.post(&format!("{at}/variables"), &set).await;
    assert_eq!(changed.status, 200);
    let id = changed.json()["deployment"]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.end_of(&id).await["state"], "succeeded");
    for url in [
        at.clone(),
        format!("{at}/variables"),
        format!("{at}/deployments"),
        format!("{at}/services/web/releases"),
        format!("{at}/export"),
        format!("/v1/deployments/{id}"),
        format!("/v1/deployments/{id}/events"),
    ] {
        let answer = api.get(&url).await;
        assert_eq!(answer.status, 200, "{url}");
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("hunter2"),
            "{url}"
        );
    }
    let opened = api.get(&format!("{at}/secrets/KEY")).await.json();
    assert_eq!(opened["value"], "hunter2");
    let audit = api.store.list_audit(None, 10).await.unwrap();
    assert!(audit.iter().any(|a| a.entry.action == "secret.read"));
    assert!(!format!("{audit:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_page_shows_nothing_to_who_has_no_session() {
    let api = Api::start().await;
    api.deployed("shop/production", "app:1").await;
    let plain = api.send("GET", "/", &[], b"").await;
    let text = String::from_utf8_lossy(&plain.body).into_owned();
    assert!(plain.status == 200 && !text.contains("shop"));
    assert!(plain.head.contains("default-src 'none'"));
    let form = format!("token={}", api.token);
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(
        api.send("POST", "/session", &foreign, form.as_bytes())
            .await
            .status,
        403
    );
    let begun = api.send("POST", "/session", &[], form.as_bytes()).await;
    let cookie = begun
        .head
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let id = cookie.split(';').next().unwrap();
    let full = api.send("GET", "/", &[("Cookie", id)], b"").await;
    assert!(String::from_utf8_lossy(&full.body).contains("shop"));
    let document: Value = api.get("/v1/version").await.json();
    assert!(document["version"].is_string());
}
