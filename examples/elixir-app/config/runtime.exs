import Config

# Read when the release starts, not when it is built.
config :elixir_app, port: String.to_integer(System.get_env("PORT", "8080"))
