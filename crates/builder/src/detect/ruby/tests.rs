use super::super::tests::{golden, plan, refusal};

const LOCK: &str = "GEM\n  remote: https://rubygems.org/\n  specs:\n    bootsnap (1.18.3)\n    pg (1.5.6)\n    puma (6.4.2)\n      nio4r (~> 2.0)\n    rails (8.0.1)\n    railties (8.0.1)\n    ruby-vips (2.2.1)\n    sprockets (4.2.1)\n    sprockets-rails (3.5.1)\n\nPLATFORMS\n  x86_64-linux\n\nRUBY VERSION\n   ruby 3.3.6p108\n\nBUNDLED WITH\n   2.6.2\n";

#[test]
fn rails_compiles_its_assets_and_runs_puma() {
    insta::assert_snapshot!(golden(&[
        (
            "Gemfile",
            "source 'https://rubygems.org'\nruby file: '.ruby-version'\ngem 'rails', '~> 8.0'\ngem 'pg'\n"
        ),
        ("Gemfile.lock", LOCK),
        (".ruby-version", "ruby-3.3.6\n"),
        ("config.ru", ""),
        ("config/application.rb", ""),
        ("config/puma.rb", ""),
        ("config/credentials.yml.enc", ""),
        ("app/assets/config/manifest.js", ""),
        ("package.json", "{}"),
        ("yarn.lock", "# yarn lockfile v1\n"),
    ]));
}

#[test]
fn sinatra_is_served_by_what_is_among_the_gems() {
    insta::assert_snapshot!(golden(&[
        (
            "Gemfile",
            "source \"https://rubygems.org\"\nruby \"~> 3.3.0\"\ngem \"sinatra\"\ngem \"puma\"\n"
        ),
        ("config.ru", "run Sinatra::Application\n"),
        ("app.rb", "require \"sinatra\"\n"),
    ]));
}

#[test]
fn the_start_command_is_found_by_rules() {
    let start = |gems: &str, files: &[(&str, &str)]| {
        let mut all = vec![("Gemfile", gems)];
        all.extend(files);
        plan(&all).map(|plan| plan.start.to_string())
    };
    assert_eq!(
        start("gem 'sinatra'\n", &[("hello.rb", "require 'sinatra'\n")]).unwrap(),
        "bundle exec ruby hello.rb -o 0.0.0.0 -p $PORT"
    );
    assert_eq!(
        start("gem 'rack'\n", &[("config.ru", "")]).unwrap(),
        "bundle exec rackup -o 0.0.0.0 -p $PORT"
    );
    assert_eq!(
        start("gem 'falcon'\n", &[("config.ru", "")]).unwrap(),
        "bundle exec falcon serve --bind http://0.0.0.0:$PORT"
    );
    assert_eq!(
        start("gem 'rails'\n", &[("config/application.rb", "")]).unwrap(),
        "bundle exec rails server -b 0.0.0.0 -p $PORT"
    );
    assert_eq!(
        start("gem 'x'\n", &[("app.rb", "")]).unwrap(),
        "bundle exec ruby app.rb"
    );
    assert!(refusal(&[("Gemfile", "gem 'fastlane'\n")]).contains("nothing says how to start it"));
    assert!(refusal(&[("config.ru", "")]).contains("bundle init"));
}

#[test]
fn the_release_is_what_the_files_ask_for() {
    let image = |gemfile: &'static str, files: &[(&'static str, &'static str)]| {
        let mut all = vec![("Gemfile", gemfile), ("app.rb", "")];
        all.extend(files);
        plan(&all).map(|plan| plan.base_images[0].clone())
    };
    assert_eq!(image("", &[]).unwrap(), "ruby:3.4");
    assert_eq!(image("ruby '3.2.2'\n", &[]).unwrap(), "ruby:3.2.2");
    assert_eq!(image("ruby '>= 3.1', '< 3.4'\n", &[]).unwrap(), "ruby:3.3");
    assert_eq!(
        image("", &[(".tool-versions", "ruby 3.1.4\n")]).unwrap(),
        "ruby:3.1.4"
    );
    assert_eq!(image("", &[("Gemfile.lock", LOCK)]).unwrap(), "ruby:3.3.6");
    for (gemfile, files, place) in [
        ("x\nruby 'newest'\n", vec![], "`Gemfile`, line 2"),
        ("ruby '3.4', engine: 'jruby'\n", vec![], "`Gemfile`, line 1"),
        (
            "",
            vec![(".ruby-version", "# mine\nlatest; rm\n")],
            "`.ruby-version`, line 2",
        ),
        (
            "ruby '~> 3.3'\n",
            vec![(".ruby-version", "3.1.0\n")],
            "the Gemfile (line 1)",
        ),
    ] {
        let error = image(gemfile, &files).unwrap_err();
        assert!(error.message.contains(place), "{error}");
    }
}

#[test]
fn a_lock_for_another_system_is_said() {
    let plan = plan(&[
        ("Gemfile", "gem 'sinatra'\n"),
        (
            "Gemfile.lock",
            "GEM\n  specs:\n    sinatra (4.0.0)\n\nPLATFORMS\n  arm64-darwin-23\n",
        ),
        ("app.rb", ""),
    ])
    .unwrap();
    assert!(
        plan.notes.iter().any(|note| note.contains("--add-platform")),
        "{:?}",
        plan.notes
    );
}
