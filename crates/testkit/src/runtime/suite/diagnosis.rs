//! Why an app did not become healthy is said in so many words.

use nonna_engine::{Code, Error};
use nonna_model::ReleaseNumber;
use nonna_model::service::{Probe, RestartPolicy};
use nonna_model::units::Bytes;

use super::setting::Setting;

fn has_detail(error: &Error, words: &str) -> bool {
    error.details.iter().any(|line| line.contains(words))
}

pub async fn an_app_that_exits(setting: &Setting) {
    let web = setting.launch("web", &[("EXIT_CODE", "3")]);
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaExited, "{error:?}");
    assert!(error.message.contains("exit code 3"), "{error:?}");
    assert!(has_detail(&error, "log: "), "{error:?}");
}

pub async fn an_app_that_exits_and_is_not_to_be_restarted(setting: &Setting) {
    let mut web = setting.launch("web", &[("EXIT_CODE", "0")]);
    web.spec.restart = RestartPolicy::OnFailure;
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaExited, "{error:?}");
    assert!(error.message.contains("exit code 0"), "{error:?}");
}

pub async fn an_app_that_uses_too_much_memory(setting: &Setting) {
    let mut web = setting.launch("web", &[("EAT_MB", "200")]);
    web.spec.resources.memory = Some(Bytes(32 * 1024 * 1024));
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaOutOfMemory, "{error:?}");
}

pub async fn an_app_on_another_port(setting: &Setting) {
    let mut web = setting.launch("web", &[("LISTEN_PORT", "3000")]);
    web.spec.health.start_period_ms = 1_500;
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::WrongPort, "{error:?}");
    assert!(
        error.message.contains("listens on port 3000") && error.message.contains("PORT=8080"),
        "{error:?}"
    );
}

pub async fn an_app_on_127_0_0_1_only(setting: &Setting) {
    let mut web = setting.launch("web", &[("LISTEN_HOST", "127.0.0.1")]);
    web.spec.health.start_period_ms = 1_500;
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ListensOnLoopback, "{error:?}");
    assert!(error.message.contains("127.0.0.1:8080"), "{error:?}");
}

pub async fn an_app_that_listens_nowhere(setting: &Setting) {
    let mut web = setting.launch("web", &[("LISTEN", "no")]);
    web.spec.health.start_period_ms = 1_500;
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaUnhealthy, "{error:?}");
    assert!(has_detail(&error, "connection refused"), "{error:?}");
}

pub async fn an_app_whose_health_check_fails(setting: &Setting) {
    let mut web = setting.launch("web", &[("HEALTH_STATUS", "503")]);
    web.spec.health.start_period_ms = 1_500;
    web.spec.health.probe = Probe::Http {
        path: "/health".into(),
        port: None,
    };
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaUnhealthy, "{error:?}");
    assert!(has_detail(&error, "503"), "{error:?}");
    assert!(has_detail(&error, "log: "), "{error:?}");
}

pub async fn an_image_that_is_not_there(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.image = "nonna-test/never-was:v9".into();
    assert_eq!(setting.failure(&web).await.code, Code::ImageNotFound);
}

pub async fn a_slow_app_is_waited_for(setting: &Setting) {
    let web = setting.launch("web", &[("START_DELAY_MS", "1500")]);
    let endpoints = setting.start(&web, 1).await.unwrap();
    assert_eq!(endpoints.len(), 1);
}

pub async fn an_app_that_recovers_after_a_restart_is_healthy(setting: &Setting) {
    // Like an app that gives up because its database is not there yet.
    let mut web = setting.launch("web", &[]);
    let script = "test -e /tmp/tried || { touch /tmp/tried; exit 1; }; exec /app";
    web.spec.command = Some(["sh", "-c", script].map(String::from).to_vec());
    setting.start(&web, 1).await.unwrap();
    let replicas = setting.replicas(&web).await;
    assert!(
        replicas[0].state.is_running() && replicas[0].restarts == 1,
        "{replicas:?}"
    );
}

pub async fn a_command_as_health_check(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.spec.health.start_period_ms = 3_000;
    let command = |script: &str| Probe::Command {
        command: ["sh", "-c", script].map(String::from).to_vec(),
    };
    web.spec.health.probe = command("wget -q -O - http://127.0.0.1:$PORT/");
    setting.start(&web, 1).await.unwrap();
    web.release = ReleaseNumber(2);
    web.spec.health.probe = command("echo not ready; exit 4");
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaUnhealthy, "{error:?}");
    assert!(has_detail(&error, "exit code 4: not ready"), "{error:?}");
}

pub async fn a_tcp_health_check(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.spec.health.probe = Probe::Tcp { port: None };
    setting.start(&web, 1).await.unwrap();
    web.release = ReleaseNumber(2);
    web.spec.health.probe = Probe::Tcp { port: Some(9999) };
    web.spec.health.start_period_ms = 1_000;
    let error = setting.failure(&web).await;
    assert!(has_detail(&error, "nothing listens on port 9999"), "{error:?}");
}

pub async fn a_worker_without_a_port_has_to_keep_running(setting: &Setting) {
    let mut worker = setting.launch("worker", &[("LISTEN", "no")]);
    worker.spec.port = None;
    let endpoints = setting.start(&worker, 1).await.unwrap();
    assert_eq!(endpoints[0].address, None);
    let mut broken = setting.launch("broken", &[("EXIT_CODE", "9")]);
    broken.spec.port = None;
    let error = setting.failure(&broken).await;
    assert_eq!(error.code, Code::ReplicaExited, "{error:?}");
}

pub async fn a_command_that_does_not_exist(setting: &Setting) {
    let mut web = setting.launch("web", &[]);
    web.spec.command = Some(vec!["/no/such/program".into()]);
    let error = setting.failure(&web).await;
    assert_eq!(error.code, Code::ReplicaExited, "{error:?}");
    assert!(error.message.contains("127"), "{error:?}");
}
