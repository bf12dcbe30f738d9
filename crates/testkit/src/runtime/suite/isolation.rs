//! Who reaches whom, and what is kept.

use std::time::Duration;

use nonna_model::ReleaseNumber;
use nonna_model::service::VolumeMount;

use super::setting::{Setting, get, name};

pub async fn a_replica_is_reached_at_its_address(setting: &Setting) {
    let web = setting.launch("web", &[("APP_VERSION", "one")]);
    let endpoints = setting.start(&web, 1).await.unwrap();
    let body = get(endpoints[0].address.unwrap(), "/").await.unwrap();
    assert!(body.starts_with("one "), "{body}");
}

pub async fn services_of_an_environment_find_each_other_by_name(setting: &Setting) {
    let (web, api) = (
        setting.launch("web", &[]),
        setting.launch("api", &[("APP_VERSION", "api")]),
    );
    let endpoints = setting.start(&web, 1).await.unwrap();
    setting.start(&api, 2).await.unwrap();
    let address = endpoints[0].address.unwrap();
    let body = get(address, "/get?api:8080/").await.unwrap();
    assert!(body.starts_with("api "), "{body}");
    // The name leads to each of its replicas. (Whom of them an app takes is
    // its own affair.)
    let answer = setting.exec(&web, &["nslookup", "api"]).await.stdout;
    for replica in setting.replicas(&api).await {
        let ip = replica.address.unwrap().ip().to_string();
        assert!(answer.contains(&ip), "no {ip} in {answer}");
    }
}

pub async fn environments_do_not_reach_each_other(setting: &Setting) {
    let other = setting.another();
    let (web, api) = (setting.launch("web", &[]), other.launch("api", &[]));
    let here = setting.start(&web, 1).await.unwrap()[0].address.unwrap();
    let there = other.start(&api, 1).await.unwrap()[0].address.unwrap();
    // By name: not known.
    let body = get(here, "/get?api:8080/").await.unwrap();
    assert!(!body.starts_with("unset "), "{body}");
    // By address: no way there. No answer, or an error, both are right.
    let path = format!("/get?{there}/");
    let by_address = get(here, &path);
    if let Ok(body) = tokio::time::timeout(Duration::from_secs(3), by_address).await {
        let body = body.unwrap_or_default();
        assert!(!body.starts_with("unset "), "{body}");
    }
    // That the app would have answered is seen from the host.
    assert!(get(there, "/").await.unwrap().starts_with("unset "));
}

pub async fn volumes_outlive_releases(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.spec.volumes = vec![VolumeMount {
        name: name("data"),
        path: "/data".into(),
    }];
    let runtime = &setting.runtime;
    runtime
        .ensure_volume(&setting.scope, &web.service, &name("data"))
        .await
        .unwrap();
    for expected in 1..=3 {
        web.release = ReleaseNumber(expected);
        let endpoints = setting.start(&web, 1).await.unwrap();
        let body = get(endpoints[0].address.unwrap(), "/count?/data/n")
            .await
            .unwrap();
        assert_eq!(body.trim(), expected.to_string());
        runtime
            .retire_replicas(&web.service, Some((web.release, 1)))
            .await
            .unwrap();
    }
    runtime.retire_replicas(&web.service, None).await.unwrap();
    assert_eq!(
        setting.observe().await.volumes.len(),
        1,
        "it is kept until it is removed"
    );
}

pub async fn one_off_commands_have_the_volumes_and_no_name(setting: &Setting) {
    let mut web = setting.launch("web", &[("APP_VERSION", "served")]);
    web.spec.volumes = vec![VolumeMount {
        name: name("data"),
        path: "/data".into(),
    }];
    setting
        .runtime
        .ensure_volume(&setting.scope, &web.service, &name("data"))
        .await
        .unwrap();
    setting.start(&web, 1).await.unwrap();
    let done = setting
        .run(
            &web,
            &["sh", "-c", "echo kept > /data/x; wget -q -O - http://web:8080/"],
        )
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("served "), "{done:?}");
    assert_eq!(setting.exec(&web, &["cat", "/data/x"]).await.stdout, "kept\n");
    // The name leads to the replica only, also while a command runs.
    let script = "for i in 1 2 3 4 5 6; do wget -q -O - http://web:8080/ || exit 1; done";
    assert_eq!(setting.run(&web, &["sh", "-c", script]).await.code, 0);
}
