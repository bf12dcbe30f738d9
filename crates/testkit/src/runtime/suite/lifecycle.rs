//! Replicas, networks and volumes come and go, and every call can be repeated.

use std::time::Duration;

use futures_util::StreamExt;
use nonna_engine::Code;
use nonna_engine::event::{EventKind, Progress};
use nonna_engine::ports::runtime::RuntimeEvent;
use nonna_model::observed::{Observed, ReplicaState};
use nonna_model::{EnvironmentId, ReleaseNumber, ServiceId};
use tokio_util::sync::CancellationToken;

use super::setting::{Setting, eventually, name};

pub async fn it_tells_what_it_is(setting: &Setting) {
    let capabilities = setting.runtime.capabilities().await.unwrap();
    assert!(!capabilities.name.is_empty());
}

pub async fn replicas_start_become_healthy_and_are_retired(setting: &Setting) {
    let web = setting.launch("web", &[]);
    let endpoints = setting.start(&web, 2).await.unwrap();
    assert_eq!(endpoints.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 1]);
    let replicas = setting.replicas(&web).await;
    assert_eq!(replicas.len(), 2);
    for (replica, endpoint) in replicas.iter().zip(&endpoints) {
        assert_eq!(replica.state, ReplicaState::Running);
        assert_eq!(replica.release, ReleaseNumber(1));
        assert_eq!(replica.address, endpoint.address);
        assert_eq!(replica.address.map(|a| a.port()), Some(8080));
        assert!(replica.started_at.is_some());
        assert_eq!(replica.restarts, 0);
    }
    assert_ne!(replicas[0].address, replicas[1].address);
    setting.runtime.retire_replicas(&web.service, None).await.unwrap();
    assert_eq!(setting.replicas(&web).await, []);
    setting.runtime.retire_replicas(&web.service, None).await.unwrap();
}

pub async fn starting_what_runs_changes_nothing(setting: &Setting) {
    let web = setting.launch("web", &[]);
    let first = setting.start(&web, 1).await.unwrap();
    let before = setting.replicas(&web).await;
    let second = setting.start(&web, 1).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(setting.replicas(&web).await, before);
    setting.start(&web, 3).await.unwrap();
    let after = setting.replicas(&web).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(after.len(), 3);
}

pub async fn another_configuration_replaces_a_replica_of_the_same_number(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let before = setting.replicas(&web).await;
    web.spec.variables.insert("GREETING".into(), "hello".into());
    setting.start(&web, 1).await.unwrap();
    let after = setting.replicas(&web).await;
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].id, before[0].id);
    assert_eq!(setting.variable(&web, "GREETING").await.as_deref(), Some("hello"));
}

pub async fn two_releases_run_side_by_side(setting: &Setting) {
    let old = setting.launch("web", &[]);
    let mut new = old.clone();
    new.release = ReleaseNumber(2);
    setting.start(&old, 1).await.unwrap();
    setting.start(&new, 2).await.unwrap();
    let releases: Vec<_> = setting.replicas(&old).await.iter().map(|r| r.release.0).collect();
    assert_eq!(releases, [1, 2, 2]);
    let keep = Some((ReleaseNumber(2), 2));
    setting.runtime.retire_replicas(&old.service, keep).await.unwrap();
    let left = setting.replicas(&old).await;
    assert!(
        left.len() == 2
            && left
                .iter()
                .all(|r| r.release == ReleaseNumber(2) && r.state.is_running())
    );
}

pub async fn fewer_replicas_are_kept_and_the_rest_retired(setting: &Setting) {
    let web = setting.launch("web", &[]);
    let other = setting.launch("other", &[]);
    setting.start(&web, 3).await.unwrap();
    setting.start(&other, 1).await.unwrap();
    let keep = Some((ReleaseNumber(1), 1));
    for _ in 0..2 {
        setting.runtime.retire_replicas(&web.service, keep).await.unwrap();
        let left = setting.replicas(&web).await;
        assert_eq!(left.iter().map(|r| r.index).collect::<Vec<_>>(), [0]);
    }
    assert_eq!(
        setting.replicas(&other).await.len(),
        1,
        "another service's replica is left alone"
    );
}

pub async fn stopped_replicas_stay_and_start_again(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let before = setting.replicas(&web).await;
    for _ in 0..2 {
        setting
            .runtime
            .stop_replicas(&web.service, web.release)
            .await
            .unwrap();
        let stopped = setting.replicas(&web).await;
        assert!(
            matches!(stopped[0].state, ReplicaState::Exited { .. }),
            "{stopped:?}"
        );
        assert_eq!(stopped[0].address, None);
    }
    setting.start(&web, 1).await.unwrap();
    let after = setting.replicas(&web).await;
    assert!(after[0].state.is_running());
    assert_eq!(before.len(), after.len());
}

pub async fn networks_and_volumes_are_made_and_removed_any_number_of_times(setting: &Setting) {
    let runtime = &setting.runtime;
    let environment = &setting.scope.environment;
    assert_eq!(setting.observe().await, Observed::nothing(environment.clone()));
    let (service, data) = (ServiceId::generate(), name("data"));
    for _ in 0..2 {
        runtime.ensure_network(&setting.scope).await.unwrap();
        runtime
            .ensure_volume(&setting.scope, &service, &data)
            .await
            .unwrap();
    }
    let observed = setting.observe().await;
    assert!(observed.network);
    assert_eq!(observed.volumes.len(), 1);
    assert_eq!(
        (&observed.volumes[0].service, &observed.volumes[0].name),
        (&service, &data)
    );
    for _ in 0..2 {
        runtime.remove_volume(&service, &data).await.unwrap();
        runtime.remove_network(environment).await.unwrap();
    }
    assert_eq!(setting.observe().await, Observed::nothing(environment.clone()));
}

pub async fn what_is_missing_is_removed_without_a_word(setting: &Setting) {
    let runtime = &setting.runtime;
    let service = ServiceId::generate();
    runtime.remove_network(&EnvironmentId::generate()).await.unwrap();
    runtime.remove_volume(&service, &name("data")).await.unwrap();
    runtime.retire_replicas(&service, None).await.unwrap();
    runtime.stop_replicas(&service, ReleaseNumber(1)).await.unwrap();
    runtime.remove_image("nonna-test/never-was:latest").await.unwrap();
    assert_eq!(runtime.stats(&service).await.unwrap(), []);
}

pub async fn a_start_can_be_cancelled(setting: &Setting) {
    let mut web = setting.launch("web", &[("LISTEN", "no")]);
    web.spec.health.start_period_ms = 60_000;
    setting.network().await;
    let cancel = CancellationToken::new();
    let progress = Progress::discard();
    let start = setting.runtime.start_replicas(&web, 1, &progress, &cancel);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel();
    };
    let within = Duration::from_secs(5);
    let (result, ()) = tokio::time::timeout(within, async { tokio::join!(start, stop) })
        .await
        .expect("cancelling is prompt");
    assert_eq!(result.unwrap_err().code, Code::Cancelled);
    setting.runtime.retire_replicas(&web.service, None).await.unwrap();
    assert_eq!(setting.replicas(&web).await, []);
}

pub async fn a_replica_that_dies_is_restarted_and_watchers_are_told(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    let before = setting.replicas(&web).await;
    let mut events = setting.runtime.watch();
    let told = async {
        while let Some(event) = events.next().await {
            match event {
                RuntimeEvent::Changed { environment } if environment == setting.scope.environment => return,
                _ => {}
            }
        }
        panic!("the stream ended");
    };
    let kill = async {
        // The stream is open once it is polled; a moment for the engine.
        tokio::time::sleep(Duration::from_millis(500)).await;
        setting.exec(&web, &["killall", "-9", "app"]).await;
    };
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, async { tokio::join!(told, kill) })
        .await
        .expect("a watcher is told");
    eventually("the replica runs again", || async {
        let now = setting.replicas(&web).await;
        now[0].state.is_running() && now[0].restarts > before[0].restarts && now[0].id == before[0].id
    })
    .await;
}

pub async fn everything_is_observed_of_every_environment(setting: &Setting) {
    let other = setting.another();
    let (here, there) = (setting.launch("web", &[]), other.launch("web", &[]));
    setting.start(&here, 1).await.unwrap();
    other.start(&there, 1).await.unwrap();
    let all = setting.runtime.observe_all().await.unwrap();
    assert_eq!(all.len(), 2);
    for one in [setting, &other] {
        assert!(all.contains(&one.observe().await));
    }
}

pub async fn images_are_found_or_not(setting: &Setting) {
    let found = setting
        .runtime
        .image(&setting.image)
        .await
        .unwrap()
        .expect("the test app is there");
    assert!(found.size > 0);
    assert_eq!(found.ports, [8080]);
    assert_eq!(
        setting.runtime.image("nonna-test/never-was:v9").await.unwrap(),
        None
    );
    // In use: it stays.
    let web = setting.launch("web", &[]);
    setting.start(&web, 1).await.unwrap();
    setting.runtime.remove_image(&setting.image).await.unwrap();
    assert!(setting.runtime.image(&setting.image).await.unwrap().is_some());
}

pub async fn figures_are_of_the_replicas_that_run(setting: &Setting) {
    let web = setting.launch("web", &[]);
    setting.start(&web, 2).await.unwrap();
    let stats = setting.runtime.stats(&web.service).await.unwrap();
    assert_eq!(stats.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1]);
    for one in &stats {
        assert!(one.memory > 0 && one.cpu_micros > 0, "{one:?}");
        assert_eq!(one.memory_limit, web.spec.resources.memory.map(|bytes| bytes.0));
    }
    setting
        .runtime
        .stop_replicas(&web.service, web.release)
        .await
        .unwrap();
    assert_eq!(setting.runtime.stats(&web.service).await.unwrap(), []);
}

pub async fn events_tell_of_each_replica(setting: &Setting) {
    let web = setting.launch("web", &[]);
    let (result, events) = setting.start_telling(&web, 2).await;
    result.unwrap();
    for wanted in 0..2 {
        let started = events
            .iter()
            .position(|e| matches!(e, EventKind::ReplicaStarted { step: 7, index, .. } if *index == wanted));
        let healthy = events.iter().position(|e| {
            matches!(e, EventKind::ReplicaHealthy { step: 7, index, answer, .. }
                if *index == wanted && answer.starts_with("GET / → 200"))
        });
        assert!(started.unwrap() < healthy.unwrap(), "{events:?}");
    }
}
