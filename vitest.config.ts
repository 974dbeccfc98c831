import { defineConfig } from "vitest/config";
import { effort, seed } from "./tests/support/random.ts";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/support/database-server.ts"],
    // The tests mostly wait for the database and for processes.
    maxWorkers: 4,
    testTimeout: 30_000 * effort,
    hookTimeout: 60_000,
    // Half of a test's timeout, because on a busy machine, milliseconds may become seconds.
    expect: { poll: { timeout: 15_000 } },
    sequence: { shuffle: true, seed },
  },
});
