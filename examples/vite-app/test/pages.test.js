import assert from "node:assert/strict";
import { test } from "node:test";

import { page } from "../src/pages.js";

test("an address has its page, and any other says so", () => {
  assert.equal(page("/about"), "About this app");
  assert.match(page("/x"), /nothing at \/x/);
});
