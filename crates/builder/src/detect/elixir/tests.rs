use super::super::tests::{golden, plan, refusal};

const PHOENIX: &str = "defmodule Shop.MixProject do\n  use Mix.Project\n\n  def project do\n    [\n      app: :shop,\n      version: \"0.1.0\",\n      elixir: \"~> 1.17\",\n      deps: deps(),\n      aliases: aliases()\n    ]\n  end\n\n  defp deps do\n    [{:phoenix, \"~> 1.7\"}, {:bandit, \"~> 1.5\"}]\n  end\n\n  defp aliases do\n    [\"assets.deploy\": [\"esbuild shop --minify\", \"phx.digest\"]]\n  end\nend\n";
const PLAIN: &str = "defmodule A do\n  use Mix.Project\n  def project do\n    [app: :a, version: \"1.0.0\", elixir: \"~> 1.14\"]\n  end\nend\n";

#[test]
fn phoenix_deploys_its_assets_and_becomes_a_release() {
    insta::assert_snapshot!(golden(&[
        ("mix.exs", PHOENIX),
        ("mix.lock", ""),
        ("config/config.exs", ""),
        ("config/prod.exs", ""),
        ("config/runtime.exs", ""),
        ("assets/package.json", "{}"),
        ("assets/package-lock.json", "{}"),
        (".tool-versions", "elixir 1.18.4-otp-27\nerlang 27.3\n"),
    ]));
}

#[test]
fn a_project_without_dependencies_fetches_none() {
    insta::assert_snapshot!(golden(&[("mix.exs", PLAIN), ("lib/a.ex", "")]));
}

#[test]
fn the_release_that_runs_is_the_one_of_mix_exs() {
    let with = |releases: &str| PLAIN.replace("app: :a,", &format!("app: :a, releases: [{releases}],"));
    let start = |text: &str| plan(&[("mix.exs", text)]).map(|plan| plan.start.to_string());
    assert_eq!(start(PLAIN).unwrap(), "/app/bin/a start");
    assert_eq!(start(&with("web: []")).unwrap(), "/app/bin/web start");
    assert_eq!(start(&with("b: [], a: []")).unwrap(), "/app/bin/a start");
    let several = with("b: [], c: []");
    let said = refusal(&[("mix.exs", &several)]);
    assert!(
        said.contains("b c") && said.contains("web: bin/NAME start"),
        "{said}"
    );
    let umbrella = PLAIN.replace("app: :a", "apps_path: \"apps\"");
    assert!(refusal(&[("mix.exs", &umbrella)]).contains("umbrella"));
    assert!(refusal(&[("mix.exs", "IO.puts(1)\n")]).contains("no Mix project"));
}

#[test]
fn the_release_of_elixir_is_what_the_files_ask_for() {
    let image = |files: &[(&'static str, &'static str)]| {
        let mut all = vec![("mix.exs", PLAIN)];
        all.extend(files);
        plan(&all).map(|plan| plan.base_images[0].clone())
    };
    assert_eq!(image(&[]).unwrap(), "elixir:1.19");
    assert_eq!(
        image(&[(
            "elixir_buildpack.config",
            "erlang_version=27.2\nelixir_version=1.18.1\n"
        )])
        .unwrap(),
        "elixir:1.18.1-otp-27"
    );
    for (file, text, place) in [
        (".tool-versions", "elixir main\n", "`.tool-versions`, line 1"),
        (
            ".tool-versions",
            "elixir 1.18.1\nerlang ref\n",
            "`.tool-versions`, line 2",
        ),
    ] {
        let error = image(&[(file, text)]).unwrap_err();
        assert!(error.message.contains(place), "{error}");
    }
    let wrong = PLAIN.replace("~> 1.14", "newest");
    let error = plan(&[("mix.exs", &wrong)]).unwrap_err();
    assert!(error.message.contains("`mix.exs`, line 4"), "{error}");
    let none = PLAIN.replace("~> 1.14", "< 1.0");
    assert!(
        plan(&[("mix.exs", &none)])
            .unwrap_err()
            .message
            .contains("no Elixir fits")
    );
}
