import { app } from "./app.ts";

Deno.test("the first page says hello", async () => {
  const answer = await app.request("/");
  if ((await answer.text()) !== "hello from deno\n") throw new Error("it does not");
});
