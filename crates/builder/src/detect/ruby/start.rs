//! How a Ruby app is started.

use nonna_engine::Result;

use super::super::start::Start;
use super::super::tree::Tree;
use super::gems::Gems;

/// What an app is run from that has no `config.ru`.
pub(super) const SCRIPTS: [&str; 5] = ["app.rb", "main.rb", "server.rb", "web.rb", "application.rb"];

/// The framework of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framework {
    Rails,
    Hanami,
    Sinatra,
    /// Anything else that answers through `config.ru`.
    Rack,
    /// A program of its own.
    None,
}

impl Framework {
    pub(super) fn of(tree: &Tree<'_>, gems: &Gems) -> Self {
        let is_rails = gems.has_any(&["rails", "railties"])
            && (tree.has("config/application.rb") || tree.has("bin/rails"));
        if is_rails {
            Self::Rails
        } else if gems.has("hanami") && tree.has("config.ru") {
            Self::Hanami
        } else if gems.has("sinatra") {
            Self::Sinatra
        } else if tree.has("config.ru") {
            Self::Rack
        } else {
            Self::None
        }
    }

    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Rails => Some("Rails"),
            Self::Hanami => Some("Hanami"),
            Self::Sinatra => Some("Sinatra"),
            Self::Rack => Some("Rack"),
            Self::None => None,
        }
    }

    /// What tells the framework that this is no developer's machine.
    pub(super) fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rails => &[
                ("RAILS_ENV", "production"),
                ("RAILS_LOG_TO_STDOUT", "1"),
                ("RAILS_SERVE_STATIC_FILES", "1"),
            ],
            Self::Hanami => &[
                ("HANAMI_ENV", "production"),
                ("HANAMI_SERVE_ASSETS", "true"),
                ("RACK_ENV", "production"),
            ],
            Self::Sinatra => &[("APP_ENV", "production"), ("RACK_ENV", "production")],
            Self::Rack | Self::None => &[("RACK_ENV", "production")],
        }
    }
}

/// Servers that answer for Rack apps: the gem, and the command.
const SERVERS: [(&str, &str); 5] = [
    ("puma", "puma -p $PORT"),
    ("falcon", "falcon serve --bind http://0.0.0.0:$PORT"),
    ("unicorn", "unicorn -p $PORT"),
    ("thin", "thin start -a 0.0.0.0 -p $PORT"),
    (
        "passenger",
        "passenger start -p $PORT --environment production --log-file /dev/stdout",
    ),
];

/// The start command, the rule that chose it, and a note.
pub(super) fn find(
    tree: &Tree<'_>,
    gems: &Gems,
    framework: Framework,
) -> Result<Option<(Start, String, Option<String>)>> {
    let rails = framework == Framework::Rails;
    if rails || tree.has("config.ru") {
        let what = if rails { "Rails" } else { "config.ru" };
        if let Some((gem, command)) = SERVERS.iter().find(|(gem, _)| gems.has(gem)) {
            let config = format!("config/{gem}.rb");
            let flag = match *gem {
                "puma" if tree.has(&config) => " -C config/puma.rb",
                "unicorn" if tree.has(&config) => " -c config/unicorn.rb",
                _ => "",
            };
            let start = Start::Shell(format!("bundle exec {command}{flag}"));
            return Ok(Some((
                start,
                format!("{what}, and `{gem}` is among the gems"),
                None,
            )));
        }
        let note = "no server is among the gems: add `puma` to the Gemfile".to_owned();
        if rails {
            let start = Start::Shell("bundle exec rails server -b 0.0.0.0 -p $PORT".to_owned());
            return Ok(Some((start, "Rails".to_owned(), Some(note))));
        }
        let start = Start::Shell("bundle exec rackup -o 0.0.0.0 -p $PORT".to_owned());
        return Ok(Some((start, "there is config.ru".to_owned(), Some(note))));
    }
    if framework == Framework::Sinatra {
        // The classic style: the file that requires it serves by itself.
        for script in tree.ending("", ".rb") {
            let serves = tree.text(script)?.is_some_and(|text| {
                text.lines()
                    .any(|line| line.trim() == "require 'sinatra'" || line.trim() == "require \"sinatra\"")
            });
            if serves && super::super::compiled::is_plain(script) {
                let start = Start::Shell(format!("bundle exec ruby {script} -o 0.0.0.0 -p $PORT"));
                return Ok(Some((start, format!("{script} requires Sinatra"), None)));
            }
        }
    }
    Ok(tree.first(&SCRIPTS).map(|script| {
        (
            Start::exec(&["bundle", "exec", "ruby", script]),
            format!("there is {script}"),
            Some("the app has to serve itself on 0.0.0.0:$PORT".to_owned()),
        )
    }))
}
