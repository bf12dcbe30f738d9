use nonna_engine::Code;
use nonna_model::{EnvironmentId, OrganizationId, ProjectId, ReleaseNumber};

use super::{Setting, Want, name};

pub async fn the_installation_is_made_once(s: &Setting) {
    let first = s.store.installation().await.unwrap();
    assert_eq!(s.store.installation().await.unwrap(), first);
    assert!(first.created_at > 0);
    s.store.check().await.unwrap();
}

pub async fn things_are_made_once_by_name(s: &Setting) {
    let project = s.store.ensure_project(&s.organization, &name("b")).await.unwrap();
    assert_eq!(
        s.store.ensure_project(&s.organization, &name("b")).await.unwrap(),
        project
    );
    s.store.ensure_project(&s.organization, &name("a")).await.unwrap();
    let names: Vec<_> = s.store.list_projects(&s.organization).await.unwrap();
    assert_eq!(
        names.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );

    let environment = s.store.ensure_environment(&project.id, &name("e")).await.unwrap();
    assert_eq!(
        s.store.ensure_environment(&project.id, &name("e")).await.unwrap(),
        environment
    );
    assert_eq!(
        s.store.list_environments(&project.id).await.unwrap(),
        std::slice::from_ref(&environment)
    );
    assert_eq!(
        s.store.find_environment(&project.id, &name("e")).await.unwrap(),
        Some(environment.clone())
    );

    let service = s
        .store
        .ensure_service(&environment.id, &name("web"))
        .await
        .unwrap();
    assert_eq!(
        s.store
            .ensure_service(&environment.id, &name("web"))
            .await
            .unwrap(),
        service
    );
    assert_eq!(service.next_release, ReleaseNumber(1));
    assert_eq!(service.current, None);
    assert_eq!(
        s.store.find_service(&environment.id, &name("api")).await.unwrap(),
        None
    );
}

pub async fn nothing_is_made_in_what_is_not_there(s: &Setting) {
    let missing = |error: nonna_engine::Error| assert_eq!(error.code, Code::NotFound);
    missing(
        s.store
            .ensure_project(&OrganizationId::generate(), &name("a"))
            .await
            .unwrap_err(),
    );
    missing(
        s.store
            .ensure_environment(&ProjectId::generate(), &name("a"))
            .await
            .unwrap_err(),
    );
    missing(
        s.store
            .ensure_service(&EnvironmentId::generate(), &name("a"))
            .await
            .unwrap_err(),
    );
    assert!(s.store.list_projects(&s.organization).await.unwrap().is_empty());
}

pub async fn a_new_environment_has_a_snapshot(s: &Setting) {
    assert_eq!(s.snapshot().await, None);
    let project = s.store.ensure_project(&s.organization, &s.project).await.unwrap();
    let environment = s
        .store
        .ensure_environment(&project.id, &s.environment)
        .await
        .unwrap();
    let snapshot = s.snapshot().await.unwrap();
    assert_eq!(snapshot.scope.project, project.id);
    assert_eq!(snapshot.scope.environment, environment.id);
    assert_eq!(snapshot.scope.organization, s.organization);
    assert!(snapshot.services.is_empty() && snapshot.unfinished.is_empty());
}

pub async fn snapshots_show_every_environment(s: &Setting) {
    let staging = s.at("shop", "staging");
    s.deploy(&[("web", Want::Image("a")), ("api", Want::Image("b"))])
        .await;
    staging.deploy(&[("web", Want::Image("c"))]).await;
    s.at("blog", "production")
        .deploy(&[("web", Want::Image("d"))])
        .await;
    let all = s.store.snapshots().await.unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|s| {
            format!(
                "{}/{}:{}",
                s.scope.project_name,
                s.scope.environment_name,
                s.services.len()
            )
        })
        .collect();
    assert_eq!(seen, ["blog/production:1", "shop/production:2", "shop/staging:1"]);
    assert_eq!(all.get(1), s.snapshot().await.as_ref());
    assert_eq!(all[1].services[0].name.as_str(), "api");
}
