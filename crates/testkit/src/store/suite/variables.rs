use std::collections::BTreeMap;

use nonna_engine::Code;
use nonna_model::{EnvironmentId, ServiceId};
use nonna_store::records::{MAX_VALUE_BYTES, Owner, VariableValue, VariablesChange};
use secrecy::{ExposeSecret, SecretString};

use super::setting::spec;
use super::{Setting, Want};

/// What is to be set, and how.
enum Set<'a> {
    Plain(&'a str, &'a str),
    Secret(&'a str, &'a str),
    Gone(&'a str),
}
use Set::{Gone, Plain, Secret};

fn change(owner: &Owner, sets: &[Set<'_>]) -> VariablesChange {
    let mut change = VariablesChange::of(owner.clone(), "tester");
    for set in sets {
        match set {
            Plain(name, value) => drop(change.set.insert((*name).into(), (*value).into())),
            Secret(name, value) => drop(
                change
                    .set_secrets
                    .insert((*name).into(), SecretString::from(*value)),
            ),
            Gone(name) => change.unset.push((*name).into()),
        }
    }
    change
}

async fn set(s: &Setting, owner: &Owner, sets: &[Set<'_>]) -> Vec<String> {
    s.store.change_variables(change(owner, sets)).await.unwrap()
}

/// The owners that `web` sees, farthest first.
async fn owners(s: &Setting) -> [Owner; 4] {
    if s.service("web").await.is_none() {
        s.deploy(&[("web", Want::Image("a"))]).await;
    }
    let id = s.service("web").await.unwrap().id;
    Owner::seen_by(&s.scope().await, &id)
}

async fn secrets(s: &Setting) -> BTreeMap<String, u64> {
    let service = s.service("web").await.unwrap().id;
    s.store
        .merged_variables(&s.scope().await, &service)
        .await
        .unwrap()
        .secrets
}

async fn open(s: &Setting, versions: &BTreeMap<String, u64>) -> BTreeMap<String, String> {
    let service = s.service("web").await.unwrap().id;
    let opened = s.store.open_secrets(&service, versions).await.unwrap();
    opened
        .into_iter()
        .map(|(name, value)| (name, value.expose_secret().to_owned()))
        .collect()
}

pub async fn the_nearest_wins(s: &Setting) {
    let [organization, project, environment, service] = owners(s).await;
    set(
        s,
        &organization,
        &[Plain("A", "o"), Plain("B", "o"), Plain("C", "o"), Plain("D", "o")],
    )
    .await;
    set(s, &project, &[Plain("B", "p"), Plain("C", "p"), Secret("D", "p")]).await;
    set(s, &environment, &[Plain("C", "e"), Secret("E", "e")]).await;
    set(s, &service, &[Plain("E", "s")]).await;
    let id = s.service("web").await.unwrap().id;
    let merged = s.store.merged_variables(&s.scope().await, &id).await.unwrap();
    let plain = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
    };
    assert_eq!(
        merged.variables,
        plain(&[("A", "o"), ("B", "p"), ("C", "e"), ("E", "s")])
    );
    assert_eq!(merged.secrets.keys().collect::<Vec<_>>(), ["D"]);
    assert_eq!(open(s, &merged.secrets).await, plain(&[("D", "p")]));

    // Another environment sees what is above it only.
    let staging = s.at("shop", "staging");
    staging.deploy(&[("web", Want::Image("a"))]).await;
    let id = staging.service("web").await.unwrap().id;
    let merged = s
        .store
        .merged_variables(&staging.scope().await, &id)
        .await
        .unwrap();
    assert_eq!(merged.variables, plain(&[("A", "o"), ("B", "p"), ("C", "p")]));
}

pub async fn setting_the_same_changes_nothing(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    let all = [Plain("A", "1"), Secret("S", "x")];
    assert_eq!(set(s, &environment, &all).await, ["A", "S"]);
    let before = s.store.list_variables(&environment).await.unwrap();
    assert_eq!(set(s, &environment, &all).await, [] as [&str; 0]);
    assert_eq!(set(s, &environment, &[Gone("NOT_THERE")]).await, [] as [&str; 0]);
    assert_eq!(s.store.list_variables(&environment).await.unwrap(), before);
    assert_eq!(
        set(
            s,
            &environment,
            &[Plain("A", "2"), Secret("S", "x"), Plain("B", "")]
        )
        .await,
        ["A", "B"]
    );
    let after = s.store.list_variables(&environment).await.unwrap();
    assert_eq!(
        after.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(),
        ["A", "B", "S"]
    );
    assert_eq!(after[0].value, VariableValue::Plain("2".into()));
    assert_eq!(after[0].updated_by, "tester");
}

pub async fn secrets_and_variables_replace_each_other(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    set(s, &environment, &[Plain("A", "1")]).await;
    assert!(s.store.open_secret(&environment, "A").await.unwrap().is_none());
    assert_eq!(set(s, &environment, &[Secret("A", "1")]).await, ["A"]);
    let opened = s.store.open_secret(&environment, "A").await.unwrap().unwrap();
    assert_eq!(opened.expose_secret(), "1");
    assert_eq!(set(s, &environment, &[Plain("A", "1")]).await, ["A"]);
    assert!(s.store.open_secret(&environment, "A").await.unwrap().is_none());
    assert_eq!(set(s, &environment, &[Gone("A")]).await, ["A"]);
    assert_eq!(s.store.list_variables(&environment).await.unwrap(), []);
}

pub async fn each_value_of_a_secret_is_a_version(s: &Setting) {
    let [_, _, environment, service] = owners(s).await;
    let mut versions = Vec::new();
    for value in ["one", "two", "one"] {
        set(s, &environment, &[Secret("S", value)]).await;
        versions.push(secrets(s).await["S"]);
    }
    set(s, &service, &[Secret("S", "near")]).await;
    versions.push(secrets(s).await["S"]);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    for (version, value) in versions.into_iter().zip(["one", "two", "one", "near"]) {
        let one = BTreeMap::from([("S".to_owned(), version)]);
        assert_eq!(open(s, &one).await["S"], value);
    }
}

pub async fn old_versions_stay_while_a_release_refers_to_them(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    set(s, &environment, &[Secret("S", "used"), Secret("T", "unused")]).await;
    let used = secrets(s).await;
    let mut spec = spec("b");
    spec.secrets = BTreeMap::from([("S".to_owned(), used["S"])]);
    s.deploy(&[("web", Want::Spec(Box::new(spec), 1))]).await;
    set(s, &environment, &[Secret("S", "new"), Gone("T")]).await;
    s.store.prune(i64::MAX).await.unwrap();

    let of = |name: &str| BTreeMap::from([(name.to_owned(), used[name])]);
    assert_eq!(open(s, &of("S")).await["S"], "used");
    let service = s.service("web").await.unwrap().id;
    let error = s.store.open_secrets(&service, &of("T")).await.unwrap_err();
    assert_eq!(error.code, Code::MissingSecret);
    assert_eq!(
        open(s, &secrets(s).await).await["S"],
        "new",
        "the current one is never pruned"
    );

    // A plan that was made before must not be begun with what is gone.
    let mut spec = super::setting::spec("c");
    spec.secrets = of("T");
    let plan = s.plan(&[("web", Want::Spec(Box::new(spec), 1))]).await;
    let error = s
        .store
        .create_deployment(Setting::new_deployment(&plan))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::PlanChanged);
}

pub async fn a_version_opens_only_for_who_sees_its_owner(s: &Setting) {
    let [.., service] = owners(s).await;
    set(s, &service, &[Secret("S", "mine")]).await;
    let versions = secrets(s).await;
    s.deploy(&[("api", Want::Image("a"))]).await;
    let stranger = s.service("api").await.unwrap().id;
    let error = s.store.open_secrets(&stranger, &versions).await.unwrap_err();
    assert_eq!(error.code, Code::MissingSecret);
    let renamed = BTreeMap::from([("OTHER".to_owned(), versions["S"])]);
    let service = s.service("web").await.unwrap().id;
    let error = s.store.open_secrets(&service, &renamed).await.unwrap_err();
    assert_eq!(error.code, Code::MissingSecret);
    assert!(!format!("{error:?}").contains("mine"));
    let nobody = ServiceId::generate();
    assert!(s.store.open_secrets(&nobody, &versions).await.is_err());
}

pub async fn a_secret_of_any_scope_opens(s: &Setting) {
    for (owner, name) in owners(s).await.iter().zip(["O", "P", "E", "S"]) {
        set(s, owner, &[Secret(name, &format!("value of {name} ünïcode\n"))]).await;
        assert_eq!(Owner::parse(owner.id()).as_ref(), Some(owner));
    }
    let opened = open(s, &secrets(s).await).await;
    assert_eq!(opened.len(), 4);
    assert_eq!(opened["P"], "value of P ünïcode\n");
}

pub async fn impossible_names_and_values_are_all_reported(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    let bad = change(
        &environment,
        &[
            Plain("", "x"),
            Plain("1A", "x"),
            Plain("A=B", "x"),
            Plain("NUL", "a\0b"),
            Secret("LONG", &long),
            Plain("BOTH", "x"),
            Secret("BOTH", "x"),
            Plain("SET", "x"),
            Gone("SET"),
            Plain("GOOD", "x"),
        ],
    );
    let error = s.store.change_variables(bad).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert_eq!(error.details.len(), 7, "{:?}", error.details);
    assert_eq!(s.store.list_variables(&environment).await.unwrap(), []);
    let most = "x".repeat(MAX_VALUE_BYTES);
    assert_eq!(set(s, &environment, &[Secret("LONG", &most)]).await, ["LONG"]);
}

pub async fn changes_are_all_or_nothing(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    let sets: Vec<String> = (0..20).map(|n| format!("V{n}")).collect();
    let tries = (0..10).map(|round| {
        let value = round.to_string();
        let all: Vec<Set<'_>> = sets.iter().map(|name| Plain(name, &value)).collect();
        s.store.change_variables(change(&environment, &all))
    });
    futures_util::future::try_join_all(tries).await.unwrap();
    let values = s.store.list_variables(&environment).await.unwrap();
    assert_eq!(values.len(), 20);
    assert!(
        values.windows(2).all(|w| w[0].value == w[1].value),
        "one change won in whole"
    );
}

pub async fn what_is_not_there_owns_nothing(s: &Setting) {
    owners(s).await;
    let owner = Owner::Environment(EnvironmentId::generate());
    let error = s
        .store
        .change_variables(change(&owner, &[Plain("A", "1")]))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(s.store.list_variables(&owner).await.unwrap(), []);
    assert!(s.store.open_secret(&owner, "A").await.unwrap().is_none());
    let mut scope = s.scope().await;
    scope.environment = EnvironmentId::generate();
    let merged = s
        .store
        .merged_variables(&scope, &ServiceId::generate())
        .await
        .unwrap();
    assert!(merged.variables.is_empty() && merged.secrets.is_empty());
}

pub async fn secrets_are_not_printed(s: &Setting) {
    let [_, _, environment, _] = owners(s).await;
    let secret = change(&environment, &[Secret("S", "hunter2")]);
    assert!(!format!("{secret:?}").contains("hunter2"));
    s.store.change_variables(secret).await.unwrap();
    let listed = format!("{:?}", s.store.list_variables(&environment).await.unwrap());
    assert!(!listed.contains("hunter2"), "{listed}");
}
