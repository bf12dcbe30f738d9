defmodule ElixirApp.Server do
  @moduledoc "Accepts connections and reads requests, with Erlang's own HTTP parser."
  use Task, restart: :permanent
  require Logger

  def start_link(options), do: Task.start_link(__MODULE__, :listen, [options[:port]])

  def listen(port) do
    options = [:binary, packet: :http_bin, active: false, reuseaddr: true, ip: {0, 0, 0, 0}]
    {:ok, socket} = :gen_tcp.listen(port, options)
    Logger.info("listening on 0.0.0.0:#{port}")
    accept(socket)
  end

  defp accept(socket) do
    {:ok, client} = :gen_tcp.accept(socket)

    {:ok, task} =
      Task.Supervisor.start_child(ElixirApp.Connections, fn ->
        receive do: (:yours -> serve(client))
      end)

    :ok = :gen_tcp.controlling_process(client, task)
    send(task, :yours)
    accept(socket)
  end

  defp serve(client) do
    with {:ok, {:http_request, method, {:abs_path, path}, _version}} <-
           :gen_tcp.recv(client, 0, 5_000),
         :ok <- skip_headers(client) do
      {status, body} = ElixirApp.Pages.answer(method, path)

      :gen_tcp.send(client, [
        "HTTP/1.1 #{status}\r\ncontent-type: text/html; charset=utf-8\r\n",
        "content-length: #{byte_size(body)}\r\nconnection: close\r\n\r\n",
        body
      ])
    end

    :gen_tcp.close(client)
  end

  defp skip_headers(client) do
    case :gen_tcp.recv(client, 0, 5_000) do
      {:ok, :http_eoh} -> :ok
      {:ok, _header} -> skip_headers(client)
      error -> error
    end
  end
end
