import { Hono } from "hono";

/** A tiny app in Deno: Hono from npm, pages from a folder. */
export const app = new Hono();

app.get("/", (c) => c.text("hello from deno\n"));
app.get("/motto", async (c) => c.text(await Deno.readTextFile("pages/motto.txt")));
