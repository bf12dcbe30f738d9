defmodule ElixirApp.Application do
  @moduledoc "Starts the server and what answers its connections."
  use Application

  @impl true
  def start(_type, _arguments) do
    children = [
      {Task.Supervisor, name: ElixirApp.Connections},
      {ElixirApp.Server, port: Application.fetch_env!(:elixir_app, :port)}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: ElixirApp.Supervisor)
  end
end
