defmodule ElixirApp.Pages do
  @moduledoc "What is answered to which request."
  @greeting "hello from elixir"

  def answer(:GET, "/"), do: {"200 OK", "<!doctype html><h1>#{@greeting}</h1>\n"}
  def answer(:GET, "/reverse/" <> text), do: {"200 OK", String.reverse(text) <> "\n"}
  def answer(_method, _path), do: {"404 Not Found", "nothing here\n"}
end
