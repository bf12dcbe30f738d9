defmodule ElixirApp.PagesTest do
  use ExUnit.Case, async: true

  test "a text is reversed" do
    assert ElixirApp.Pages.answer(:GET, "/reverse/abc") == {"200 OK", "cba\n"}
  end

  test "anything else is not found" do
    assert {"404 Not Found", _} = ElixirApp.Pages.answer(:POST, "/")
  end
end
